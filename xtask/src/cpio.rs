//! A writer for the "newc" cpio archives that the kernel unpacks into its first root file system.
//!
//! Time stamps and inode numbers are fixed by the order of the calls, so the same content makes
//! the same archive: deterministic runs begin with the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// An archive under construction. Parent directories are added as they are needed.
pub struct Archive<W: Write> {
    out: W,
    written_bytes: u64,
    next_inode: u32,
    seen: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive on `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            written_bytes: 0,
            next_inode: 1,
            seen: BTreeSet::new(),
        }
    }

    /// Adds a directory and its parents, unless the archive has them.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = normalized(path);
        if path.is_empty() || self.seen.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.entry(path, S_IFDIR | 0o755, 0, &[])
    }

    /// Adds a regular file, unless the archive has an entry of this path.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        let path = normalized(path);
        self.parents(path)?;
        self.entry(path, S_IFREG | (mode & 0o7777), 0, data)
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = normalized(path);
        self.parents(path)?;
        self.entry(path, S_IFLNK | 0o777, 0, target.as_bytes())
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        let path = normalized(path);
        self.parents(path)?;
        self.entry(path, S_IFCHR | mode, (major << 16) | minor, &[])
    }

    /// Writes the end marker and returns the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.seen.remove("TRAILER!!!");
        self.next_inode = 0;
        self.entry("TRAILER!!!", 0, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: u32, data: &[u8]) -> io::Result<()> {
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let size_bytes = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{path} is too large for a cpio archive")))?;
        let links = if mode & S_IFDIR != 0 { 2 } else { 1 };
        let (major, minor) = (device >> 16, device & 0xffff);
        // magic, inode, mode, uid, gid, links, mtime, size, device of the file system (major,
        // minor), device number (major, minor), length of the name with its NUL, check sum
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size_bytes:08x}{:08x}{:08x}\
             {major:08x}{minor:08x}{:08x}{:08x}",
            self.next_inode,
            0,
            0,
            0,
            0,
            0,
            path.len() + 1,
            0
        );
        self.next_inode += 1;
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(data)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written_bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = (4 - self.written_bytes % 4) % 4;
        self.put(&[0; 3][..missing as usize])
    }
}

fn normalized(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let number = |at: usize| {
            let digits = std::str::from_utf8(&archive[at..at + 8]).unwrap();
            u32::from_str_radix(digits, 16).unwrap() as usize
        };
        let mut at = 0;
        let mut found = Vec::new();
        loop {
            assert_eq!(&archive[at..at + 6], b"070701");
            let (mode, size, name_len) = (number(at + 14), number(at + 54), number(at + 94));
            let name = &archive[at + 110..at + 110 + name_len - 1];
            let data = (at + 110 + name_len).next_multiple_of(4);
            let name = String::from_utf8(name.to_vec()).unwrap();
            if name == "TRAILER!!!" {
                return found;
            }
            found.push((name, mode as u32, archive[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
    }

    #[test]
    fn adds_parents_once_and_keeps_content() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/usr/bin/tool", 0o755, b"12345").unwrap();
        archive.symlink("usr/bin/other", "tool").unwrap();
        archive.directory("/usr/bin/").unwrap();
        let bytes = archive.finish().unwrap();
        let expected = [
            ("usr", 0o040_755, ""),
            ("usr/bin", 0o040_755, ""),
            ("usr/bin/tool", 0o100_755, "12345"),
            ("usr/bin/other", 0o120_777, "tool"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, mode, data)| (name.to_string(), *mode, data.as_bytes().to_vec()))
            .collect();
        assert_eq!(names(&bytes), expected);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn first_entry_of_a_path_stays() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"first").unwrap();
        archive.file("/a", 0o644, b"second").unwrap();
        let found = names(&archive.finish().unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, b"first");
    }
}
