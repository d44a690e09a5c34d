//! The simulated machine's file system: paths, directories, regular files.
//!
//! **What.** [`FileSystem`] keeps inodes and the paths that lead to them; the methods of [`Machine`] here are `openat(2)`
//! and `statx(2)`. The root is `/`, which is the current directory too; there are no links, owners or permissions.
//!
//! **Invariants.** *INV-DISK-1*: an inode exists exactly while a path leads to it or `opened` is above zero, and `opened` is
//! how many open files have it. *INV-DISK-2*: what a path leads to has directories above it.
//!
//! **Why this shape.** A test puts a file there with its content, and looks at the content afterwards. A map is enough.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::proactor::Stat;
use linux_event_core::sys::RawFd;

use super::machine::{FileId, Machine, Object};

const O_ACCESS: u32 = 3;
const O_WRITE_ONLY: u32 = 1;
const O_READ_WRITE: u32 = 2;
const O_CREATE: u32 = 0o100;
const O_EXCLUSIVE: u32 = 0o200;
const O_TRUNCATE: u32 = 0o1000;
const O_APPEND: u32 = 0o2000;
const O_DIRECTORY: u32 = if cfg!(target_arch = "aarch64") {
    0o40_000
} else {
    0o200_000
};
/// `AT_EMPTY_PATH`: it is the descriptor that is meant.
const AT_EMPTY_PATH: u32 = 0x1000;
const PATH_MAX: usize = 4096;

const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
/// `STATX_BASIC_STATS`.
const BASIC_STATS: u32 = 0x7ff;

type Inode = u64;

#[derive(Debug)]
struct Regular {
    content: Vec<u8>,
    mode: u16,
    has_path: bool,
    /// INV-DISK-1.
    opened: usize,
    modified: Instant,
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenRegular {
    pub(super) inode: Inode,
    position: u64,
    flags: u32,
}

impl OpenRegular {
    pub(super) const fn can_read(&self) -> bool {
        self.flags & O_ACCESS != O_WRITE_ONLY
    }

    pub(super) const fn can_write(&self) -> bool {
        self.flags & O_ACCESS != 0
    }

    pub(super) const fn appends(&self) -> bool {
        self.flags & O_APPEND != 0
    }
}

/// Paths and what they lead to.
#[derive(Debug, Default)]
pub(super) struct FileSystem {
    inodes: BTreeMap<Inode, Regular>,
    paths: BTreeMap<Vec<u8>, Inode>,
    directories: BTreeSet<Vec<u8>>,
    made: Inode,
    /// The time of the machine, for times of modification.
    pub(super) now: Instant,
}

/// A path's parts from the root: `/a/b`. The root itself is empty.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.iter().fold(Vec::new(), |mut whole, part| {
        whole.push(b'/');
        whole.extend_from_slice(part);
        whole
    })
}

fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    &path[..end]
}

impl FileSystem {
    fn is_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    /// Whether a file can be made at a path: ENOENT or ENOTDIR if there is no directory for it.
    fn check_parent(&self, path: &[u8]) -> Result<(), Errno> {
        let mut above = parent(path);
        if self.is_directory(above) {
            return Ok(());
        }
        while !above.is_empty() {
            if self.paths.contains_key(above) {
                return Err(Errno::ENOTDIR);
            }
            above = parent(above);
        }
        Err(Errno::ENOENT)
    }

    fn make(&mut self, content: Vec<u8>, mode: u16) -> Inode {
        self.made += 1;
        let regular = Regular {
            content,
            mode,
            has_path: false,
            opened: 0,
            modified: self.now,
        };
        self.inodes.insert(self.made, regular);
        self.made
    }

    /// Makes a directory, and those above it.
    pub(super) fn make_directory(&mut self, path: &[u8]) -> Result<(), Errno> {
        let path = normal(path);
        let mut above = &path[..];
        while !above.is_empty() {
            if self.paths.contains_key(above) {
                return Err(Errno::ENOTDIR);
            }
            above = parent(above);
        }
        let mut above = &path[..];
        while !above.is_empty() {
            self.directories.insert(above.to_vec());
            above = parent(above);
        }
        Ok(())
    }

    /// Puts a file with this content there, or replaces the content of the one that is there.
    pub(super) fn put(&mut self, path: &[u8], content: Vec<u8>) -> Result<(), Errno> {
        let path = normal(path);
        if self.is_directory(&path) {
            return Err(Errno::EISDIR);
        }
        if let Some(inode) = self.paths.get(&path) {
            if let Some(regular) = self.inodes.get_mut(inode) {
                regular.content = content;
                regular.modified = self.now;
            }
            return Ok(());
        }
        self.make_directory(parent(&path))?;
        self.make_at(path, content, 0o644);
        Ok(())
    }

    fn make_at(&mut self, path: Vec<u8>, content: Vec<u8>, mode: u16) -> Inode {
        let inode = self.make(content, mode);
        if let Some(regular) = self.inodes.get_mut(&inode) {
            regular.has_path = true;
        }
        self.paths.insert(path, inode);
        inode
    }

    pub(super) fn content(&self, path: &[u8]) -> Option<&[u8]> {
        let inode = self.paths.get(&normal(path))?;
        self.inodes.get(inode).map(|regular| &regular.content[..])
    }

    /// Whether there is a file or directory at `path`.
    pub(super) fn exists(&self, path: &[u8]) -> bool {
        let path = normal(path);
        self.paths.contains_key(&path) || self.is_directory(&path)
    }

    /// Takes a path away. The file goes when nothing has it open.
    pub(super) fn unlink(&mut self, path: &[u8]) -> Result<(), Errno> {
        let path = normal(path);
        if self.is_directory(&path) {
            return Err(Errno::EISDIR);
        }
        let inode = self.paths.remove(&path).ok_or(Errno::ENOENT)?;
        if let Some(regular) = self.inodes.get_mut(&inode) {
            regular.has_path = false;
            regular.opened += 1;
        }
        self.forget(inode);
        Ok(())
    }

    /// An open file of the inode is gone.
    pub(super) fn forget(&mut self, inode: Inode) {
        if let Some(regular) = self.inodes.get_mut(&inode) {
            regular.opened -= 1;
            if regular.opened == 0 && !regular.has_path {
                self.inodes.remove(&inode);
            }
        }
    }

    fn open(&mut self, inode: Inode, flags: u32) -> OpenRegular {
        if let Some(regular) = self.inodes.get_mut(&inode) {
            regular.opened += 1;
        }
        OpenRegular {
            inode,
            position: 0,
            flags,
        }
    }

    /// Copies what is at `at`, or at the current position, which does not move.
    pub(super) fn peek(&self, open: &OpenRegular, bytes_max: usize, at: Option<u64>) -> Vec<u8> {
        let Some(regular) = self.inodes.get(&open.inode) else {
            return Vec::new();
        };
        let start = usize::try_from(at.unwrap_or(open.position)).unwrap_or(usize::MAX);
        let rest = regular.content.get(start..).unwrap_or_default();
        rest[..rest.len().min(bytes_max)].to_vec()
    }

    pub(super) fn read(
        &self,
        open: &mut OpenRegular,
        buffer: &mut [u8],
        at: Option<u64>,
    ) -> Result<usize, Errno> {
        if !open.can_read() {
            return Err(Errno::EBADF);
        }
        if at.is_some_and(|at| i64::try_from(at).is_err()) {
            return Err(Errno::EINVAL);
        }
        let bytes = self.peek(open, buffer.len(), at);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        if at.is_none() {
            open.position += bytes.len() as u64;
        }
        Ok(bytes.len())
    }

    pub(super) fn write(
        &mut self,
        open: &mut OpenRegular,
        bytes: &[u8],
        at: Option<u64>,
    ) -> Result<usize, Errno> {
        if !open.can_write() {
            return Err(Errno::EBADF);
        }
        let Some(regular) = self.inodes.get_mut(&open.inode) else {
            return Err(Errno::EBADF);
        };
        // Linux appends wherever it is told to write (`pwrite(2)`, BUGS).
        let start = match at {
            _ if open.flags & O_APPEND != 0 => regular.content.len() as u64,
            Some(at) if i64::try_from(at).is_err() => return Err(Errno::EINVAL),
            Some(at) => at,
            None => open.position,
        };
        // A hole that a test could not mean: it would be memory.
        let first = usize::try_from(start).unwrap_or(usize::MAX);
        if first > regular.content.len() + (1 << 30) {
            return Err(Errno::EFBIG);
        }
        let end = first + bytes.len();
        if !bytes.is_empty() {
            if regular.content.len() < end {
                regular.content.resize(end, 0);
            }
            regular.content[first..end].copy_from_slice(bytes);
            regular.modified = self.now;
        }
        if at.is_none() {
            open.position = end as u64;
        }
        Ok(bytes.len())
    }

    fn stat(&self, inode: Inode) -> Result<Stat, Errno> {
        let regular = self.inodes.get(&inode).ok_or(Errno::ENOENT)?;
        let size = regular.content.len() as u64;
        let mut stat = Stat::default();
        stat.mask = BASIC_STATS;
        stat.mode = S_IFREG | regular.mode;
        stat.links = u32::from(regular.has_path);
        stat.inode = inode;
        stat.size = size;
        stat.blocks = size.div_ceil(4096) * 8;
        let nanos = regular.modified.as_nanos();
        stat.modified = (
            (nanos / 1_000_000_000) as i64,
            (nanos % 1_000_000_000) as u32,
        );
        Ok(stat)
    }
}

fn stat_of_directory() -> Stat {
    let mut stat = Stat::default();
    stat.mask = BASIC_STATS;
    stat.mode = S_IFDIR | 0o755;
    stat.links = 2;
    stat
}

impl Machine {
    /// An empty file that no path leads to.
    pub(super) fn regular_file(&mut self) -> Result<RawFd, Errno> {
        self.numbers.check_room(1)?;
        let inode = self.disk.make(Vec::new(), 0o600);
        let regular = self.disk.open(inode, O_READ_WRITE);
        self.open(Object::Regular(regular))
    }

    /// A path relative to a directory; `None` is the current one.
    fn resolve(&self, directory: Option<FileId>, path: &[u8]) -> Result<Vec<u8>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match directory.filter(|_| path.first() != Some(&b'/')) {
            None => Ok(normal(path)),
            Some(file) => match self.object(file) {
                Some(Object::Directory(above)) => {
                    let mut whole = above.clone();
                    whole.push(b'/');
                    whole.extend_from_slice(path);
                    Ok(normal(&whole))
                }
                _ => Err(Errno::ENOTDIR),
            },
        }
    }

    /// `openat(2)`.
    pub(super) fn open_at(
        &mut self,
        directory: Option<FileId>,
        path: &[u8],
        flags: u32,
        mode: u32,
    ) -> Result<RawFd, Errno> {
        let whole = self.resolve(directory, path)?;
        let writes = flags & O_ACCESS != 0;
        if self.disk.is_directory(&whole) {
            return match flags {
                _ if flags & O_CREATE != 0 && flags & O_EXCLUSIVE != 0 => Err(Errno::EEXIST),
                _ if writes || flags & O_CREATE != 0 => Err(Errno::EISDIR),
                _ => self.open(Object::Directory(whole)),
            };
        }
        let inode = match self.disk.paths.get(&whole) {
            Some(_) if flags & O_CREATE != 0 && flags & O_EXCLUSIVE != 0 => {
                return Err(Errno::EEXIST);
            }
            Some(_) if flags & O_DIRECTORY != 0 || path.ends_with(b"/") => {
                return Err(Errno::ENOTDIR);
            }
            Some(&inode) => inode,
            None => {
                self.disk.check_parent(&whole)?;
                if flags & O_CREATE == 0 {
                    return Err(Errno::ENOENT);
                }
                self.numbers.check_room(1)?;
                self.disk.make_at(whole, Vec::new(), (mode & 0o7777) as u16)
            }
        };
        self.numbers.check_room(1)?;
        if flags & O_TRUNCATE != 0
            && writes
            && let Some(regular) = self.disk.inodes.get_mut(&inode)
        {
            regular.content.clear();
        }
        let regular = self.disk.open(inode, flags);
        self.open(Object::Regular(regular))
    }

    /// `statx(2)`.
    pub(super) fn stat(
        &self,
        directory: Option<FileId>,
        path: &[u8],
        flags: u32,
    ) -> Result<Stat, Errno> {
        if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            return match directory.and_then(|file| self.object(file)) {
                Some(Object::Regular(regular)) => self.disk.stat(regular.inode),
                Some(Object::Directory(_)) | None => Ok(stat_of_directory()),
                Some(_) => Ok(Stat::default()),
            };
        }
        let whole = self.resolve(directory, path)?;
        if self.disk.is_directory(&whole) {
            return Ok(stat_of_directory());
        }
        if let Some(&inode) = self.disk.paths.get(&whole) {
            return self.disk.stat(inode);
        }
        self.disk.check_parent(&whole)?;
        Err(Errno::ENOENT)
    }

    /// `fsync(2)`.
    pub(super) fn sync(&self, file: FileId) -> Result<(), Errno> {
        match self.object(file) {
            Some(Object::Regular(_) | Object::Directory(_)) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}
