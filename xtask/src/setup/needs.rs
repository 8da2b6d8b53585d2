//! What there has to be on a machine, by purpose, and which packages bring it.

use super::{
    Purpose, find_busybox, find_clang, find_clang_format, has, has_header, has_libclang, has_venv,
};
use crate::cross;
use std::env;
use std::path::Path;

/// Where a distribution has no libraries of another architecture.
const NOT_HERE: &str = "(not to be had: build on the aarch64 machine itself)";

/// One thing that has to be there.
pub struct Need {
    /// What it is, for people.
    pub what: &'static str,
    /// What needs it.
    pub purpose: Purpose,
    /// Whether it is here.
    pub present: fn() -> bool,
    /// Packages of which the first one that exists is taken.
    pub debian: &'static [&'static str],
    /// Fedora's packages.
    pub fedora: &'static str,
    /// Arch's packages.
    pub arch: &'static str,
}

/// Everything that builds, guests, checks and packages need.
pub const NEEDS: &[Need] = &[
    Need {
        what: "clang 18 or later",
        purpose: Purpose::Build,
        present: || find_clang().is_some(),
        debian: &["clang-22", "clang-21", "clang-20", "clang-19", "clang-18"],
        fedora: "clang",
        arch: "clang",
    },
    Need {
        what: "libclang",
        purpose: Purpose::Build,
        present: || env::var_os("LIBCLANG_PATH").is_some() || has_libclang(),
        debian: &[
            "libclang-22-dev",
            "libclang-21-dev",
            "libclang-20-dev",
            "libclang-19-dev",
            "libclang-18-dev",
        ],
        fedora: "clang-devel",
        arch: "clang",
    },
    Need {
        what: "a C compiler",
        purpose: Purpose::Build,
        present: || has("gcc") || has("cc"),
        debian: &["gcc"],
        fedora: "gcc",
        arch: "gcc",
    },
    Need {
        what: "the C library's headers",
        purpose: Purpose::Build,
        present: || has_header("stdlib.h"),
        debian: &["libc6-dev"],
        fedora: "glibc-devel",
        arch: "glibc",
    },
    Need {
        what: "make",
        purpose: Purpose::Build,
        present: || has("make"),
        debian: &["make"],
        fedora: "make",
        arch: "make",
    },
    Need {
        what: "pkg-config",
        purpose: Purpose::Build,
        present: || has("pkg-config"),
        debian: &["pkg-config"],
        fedora: "pkgconf-pkg-config",
        arch: "pkgconf",
    },
    Need {
        what: "libelf",
        purpose: Purpose::Build,
        present: || has_header("libelf.h"),
        debian: &["libelf-dev"],
        fedora: "elfutils-libelf-devel",
        arch: "libelf",
    },
    Need {
        what: "zlib",
        purpose: Purpose::Build,
        present: || has_header("zlib.h"),
        debian: &["zlib1g-dev"],
        fedora: "zlib-devel",
        arch: "zlib",
    },
    Need {
        what: "QEMU",
        purpose: Purpose::Vm,
        present: || has("qemu-system-x86_64"),
        debian: &["qemu-system-x86"],
        fedora: "qemu-system-x86-core",
        arch: "qemu-system-x86",
    },
    Need {
        what: "QEMU for aarch64",
        purpose: Purpose::VmAarch64,
        present: || has("qemu-system-aarch64"),
        debian: &["qemu-system-arm"],
        fedora: "qemu-system-aarch64-core",
        arch: "qemu-system-aarch64",
    },
    Need {
        what: "a static busybox",
        purpose: Purpose::Vm,
        present: || find_busybox().is_some(),
        debian: &["busybox-static"],
        fedora: "busybox",
        arch: "busybox",
    },
    Need {
        what: "Debian's keys",
        purpose: Purpose::Vm,
        present: || Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
        debian: &["debian-archive-keyring"],
        fedora: "debian-keyring apt dpkg",
        arch: "debian-archive-keyring apt dpkg",
    },
    Need {
        what: "clang-format 19",
        purpose: Purpose::Test,
        present: || find_clang_format().is_some(),
        debian: &["clang-format-19"],
        fedora: "clang-tools-extra",
        arch: "clang",
    },
    Need {
        what: "a C compiler for aarch64",
        purpose: Purpose::CrossAarch64,
        present: || has("aarch64-linux-gnu-gcc"),
        debian: &["gcc-aarch64-linux-gnu"],
        fedora: NOT_HERE,
        arch: NOT_HERE,
    },
    Need {
        what: "the C library for aarch64",
        purpose: Purpose::CrossAarch64,
        present: || Path::new("/usr/aarch64-linux-gnu/include/stdlib.h").exists(),
        debian: &["libc6-dev-arm64-cross"],
        fedora: "",
        arch: "",
    },
    Need {
        what: "a Rust compiler of Debian's",
        purpose: Purpose::CrossAarch64,
        present: || cross::rustc().is_some() || Path::new(cross::DEBIAN_RUSTC).exists(),
        debian: &["rustc-web", "rustc"],
        fedora: "",
        arch: "",
    },
    Need {
        what: "Rust's standard library for aarch64",
        purpose: Purpose::CrossAarch64,
        present: || cross::rustc().is_some(),
        debian: &["libstd-rust-web-dev:arm64", "libstd-rust-dev:arm64"],
        fedora: "",
        arch: "",
    },
    Need {
        what: "libelf for aarch64",
        purpose: Purpose::CrossAarch64,
        present: || Path::new("/usr/lib/aarch64-linux-gnu/libelf.so").exists(),
        debian: &["libelf-dev:arm64"],
        fedora: "",
        arch: "",
    },
    Need {
        what: "zlib for aarch64",
        purpose: Purpose::CrossAarch64,
        present: || Path::new("/usr/lib/aarch64-linux-gnu/libz.so").exists(),
        debian: &["zlib1g-dev:arm64"],
        fedora: "",
        arch: "",
    },
    Need {
        what: "ninja",
        purpose: Purpose::SideBySide,
        present: || has("ninja"),
        debian: &["ninja-build"],
        fedora: "ninja-build",
        arch: "ninja",
    },
    Need {
        what: "GLib's headers",
        purpose: Purpose::SideBySide,
        present: || has_header("glib-2.0/glib.h"),
        debian: &["libglib2.0-dev"],
        fedora: "glib2-devel",
        arch: "glib2-devel",
    },
    Need {
        what: "the library of device trees",
        purpose: Purpose::SideBySide,
        present: || has_header("libfdt.h"),
        debian: &["libfdt-dev"],
        fedora: "libfdt-devel",
        arch: "dtc",
    },
    Need {
        what: "the distribution's Python with venv",
        purpose: Purpose::SideBySide,
        present: has_venv,
        debian: &["python3-venv"],
        fedora: "python3",
        arch: "python",
    },
    Need {
        what: "xz",
        purpose: Purpose::SideBySide,
        present: || has("xz"),
        debian: &["xz-utils"],
        fedora: "xz",
        arch: "xz",
    },
    Need {
        what: "Debian's package tools",
        purpose: Purpose::Package,
        present: || has("dpkg-shlibdeps"),
        debian: &["dpkg-dev"],
        fedora: "dpkg-dev",
        arch: "dpkg",
    },
    Need {
        what: "debootstrap",
        purpose: Purpose::PackageCheck,
        present: || has("debootstrap"),
        debian: &["debootstrap"],
        fedora: "debootstrap",
        arch: "debootstrap",
    },
    Need {
        what: "lintian",
        purpose: Purpose::PackageCheck,
        present: || has("lintian"),
        debian: &["lintian"],
        fedora: "lintian",
        arch: "lintian",
    },
];
