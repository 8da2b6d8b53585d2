//! The architectures that guests may have.

/// An architecture of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    /// A 64-bit PC.
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    /// A stand-in for the Raspberry Pi 5: Cortex-A76 with pages of 16 KiB.
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Default for Arch {
    fn default() -> Self {
        Self::host()
    }
}

impl Arch {
    /// The architecture of this machine.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// Its name in `uname -m`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name for it.
    pub fn debian_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}
