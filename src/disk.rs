//! Calls to the file system: each of them ends, none follows a link, and none grows a file beyond what the system allows.
//!
//! The standard library repeats a call for as long as signals interrupt it. A timer that fires too often, or a file system
//! that always answers so, then holds a thread for ever. Here a call that is interrupted [`MAX_INTERRUPTS`] times in a row
//! is an error.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

/// After this many interruptions in a row, a call has failed.
const MAX_INTERRUPTS: u32 = 100;

/// Makes a call again while signals interrupt it, [`MAX_INTERRUPTS`] times at most.
///
/// # Errors
/// The call's; [`io::ErrorKind::Interrupted`] if that is all that it ever says.
pub fn bounded<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..MAX_INTERRUPTS {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    call()
}

// ---- opening ----

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    /// Made if it is missing.
    ReadWriteOrCreate,
    /// Made, and an error if there is one; for nobody but the owner.
    CreateNew {
        private: bool,
    },
}

/// Opens what lies at `path` itself: a symbolic link is an error, and a pipe does not block.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn open(path: &Path, access: Access) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let how = match access {
        Access::Read => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
        Access::ReadWriteOrCreate => OFlags::RDWR | OFlags::CREATE,
        Access::CreateNew { .. } => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
    };
    let mode = if access == (Access::CreateNew { private: true }) { 0o600 } else { 0o666 };
    let flags = how | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = bounded(|| Ok(rustix::fs::open(path, flags, Mode::from_raw_mode(mode))?))?;
    Ok(opened.into())
}

/// Opens what lies at `path` itself: what a symbolic link is, and not what it leads to.
///
/// # Errors
/// What the system says.
#[cfg(not(unix))]
pub fn open(path: &Path, access: Access) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(access != Access::Read);
    match access {
        Access::Read | Access::ReadWrite => {}
        Access::ReadWriteOrCreate => _ = options.create(true),
        Access::CreateNew { .. } => _ = options.create_new(true),
    }
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, FILE_FLAG_OPEN_REPARSE_POINT);
    options.open(path)
}

/// Opens a symbolic link and not its target; the system's constant of that name.
#[cfg(windows)]
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Whether the file has another name besides the one by which it was found: a write would change that file as well.
pub fn has_another_name(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(metadata) > 1;
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// Lets nobody but the owner read it, if the file system knows owners.
pub fn make_private(file: &File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if file.metadata().is_ok_and(|found| found.mode() & 0o077 != 0) {
            // A file system without permissions has nobody to keep out.
            let _ = rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(0o600));
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}

/// Whether an open file is the one that has this name.
#[cfg(unix)]
pub fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (ours, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()))
}

/// Whether an open file is the one that has this name.
#[cfg(windows)]
pub fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = same_file::Handle::from_file(file.try_clone()?)?;
    Ok(ours == same_file::Handle::from_path(path)?)
}

// ---- locks ----

/// Locks the file for this handle and its clones; `false` if another handle has the lock.
///
/// # Errors
/// What the system says.
pub fn try_lock(file: &File) -> io::Result<bool> {
    bounded(|| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    })
}

/// The process that has locked the file at `path`, where the system tells.
#[cfg(target_os = "linux")]
pub fn lock_holder(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::symlink_metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    let (device, inode) = (format!("{major:02x}:{minor:02x}"), found.ino().to_string());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // "7: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"; what waits for a lock has "->" behind its number.
    let holders = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        let (its_device, its_inode) = place.rsplit_once(':')?;
        // 0 and less: the process is in another name space.
        let pid = pid.parse().ok().filter(|&pid: &u32| pid > 0)?;
        (kind == "FLOCK" && its_inode == inode).then_some((its_device == device, pid))
    });
    let holders: Vec<(bool, u32)> = holders.collect();
    match holders.iter().find(|(same_device, _)| *same_device) {
        Some((_, pid)) => Some(*pid),
        // Some file systems show another device to those who ask for a file's.
        None if holders.len() == 1 => Some(holders[0].1),
        None => None,
    }
}

/// The process that has locked the file at `path`, where the system tells.
#[cfg(not(target_os = "linux"))]
pub fn lock_holder(_: &Path) -> Option<u32> {
    None
}

// ---- reading, writing, syncing ----

/// Reads from the file's position until the end, or until `bytes` has `max`.
///
/// # Errors
/// What the system says.
pub fn read_up_to(mut file: &File, bytes: &mut Vec<u8>, max: u64) -> io::Result<()> {
    let mut buf = vec![0; 256 << 10];
    while (bytes.len() as u64) < max {
        let len = (max - bytes.len() as u64).min(buf.len() as u64) as usize;
        match bounded(|| file.read(&mut buf[..len]))? {
            0 => break,
            n => bytes.extend_from_slice(&buf[..n]),
        }
    }
    Ok(())
}

/// Reads `buf.len()` bytes at `offset`, or up to the end of the file, and says how many.
///
/// # Errors
/// What the system says.
pub fn read_at(mut file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    bounded(|| file.seek(SeekFrom::Start(offset)))?;
    let mut done = 0;
    while done < buf.len() {
        match bounded(|| file.read(&mut buf[done..]))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at the file's position.
///
/// # Errors
/// What the system says.
pub fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match bounded(|| file.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
///
/// # Errors
/// What the system says.
pub fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    bounded(|| file.seek(SeekFrom::Start(offset)))?;
    write_all(file, bytes)
}

/// Makes the file's bytes durable, and all that is known of it.
///
/// # Errors
/// What the system says.
pub fn sync_all(file: &File) -> io::Result<()> {
    // macOS has a call of its own for that, which the standard library knows.
    #[cfg(target_os = "linux")]
    return bounded(|| Ok(rustix::fs::fsync(file)?));
    #[cfg(not(target_os = "linux"))]
    file.sync_all()
}

/// Makes the file's bytes and its length durable.
///
/// # Errors
/// What the system says.
pub fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return bounded(|| Ok(rustix::fs::fdatasync(file)?));
    #[cfg(not(target_os = "linux"))]
    file.sync_data()
}

/// Sets the file's length.
///
/// # Errors
/// What the system says.
pub fn set_len(file: &File, len: u64) -> io::Result<()> {
    #[cfg(unix)]
    return bounded(|| Ok(rustix::fs::ftruncate(file, len)?));
    #[cfg(not(unix))]
    file.set_len(len)
}

// ---- room ----

/// The length that this process may give a file (`ulimit -f`); `u64::MAX` without a limit. Beyond it the system answers
/// with a signal that ends the process, `SIGXFSZ`, unless that is ignored.
pub fn size_limit() -> u64 {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    u64::MAX
}

/// Whether the disk may have room for `bytes` more in this file, of which `reserved` have their blocks already. `true`
/// where the system does not tell.
pub fn may_have_room(file: &File, bytes: u64, reserved: u64) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let Ok(disk) = bounded(|| Ok(rustix::fs::fstatvfs(file)?)) else { return true };
        let Ok(found) = file.metadata() else { return true };
        // What an earlier run has reserved is in the file already.
        let there = found.blocks().saturating_mul(512).saturating_sub(reserved);
        let free = disk.f_bfree.saturating_mul(disk.f_frsize);
        disk.f_blocks == 0 || bytes.saturating_sub(there) <= free
    }
    #[cfg(not(unix))]
    {
        let _ = (file, bytes, reserved);
        true
    }
}

/// Allocates the blocks of `range`, where no data are, and lets the file reach at least that far. If it cannot, it gives
/// back what it took.
///
/// # Errors
/// What the system says; the file is as long as before then.
pub fn allocate(file: &File, range: &Range<u64>) -> io::Result<()> {
    let before = file.metadata()?.len();
    allocate_or_part(file, range).inspect_err(|_| {
        // A part of it may be allocated: what is left would have no room for a smaller wish.
        if file.metadata().is_ok_and(|now| now.len() > before) {
            let _ = set_len(file, before);
        }
        #[cfg(target_os = "linux")]
        if range.start < before {
            use rustix::fs::{FallocateFlags, fallocate};
            let inside = range.end.min(before) - range.start;
            let _ = fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.start, inside);
        }
    })
}

#[cfg(target_os = "linux")]
fn allocate_or_part(file: &File, range: &Range<u64>) -> io::Result<()> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    /// A piece that no signal need interrupt.
    const MIN_PIECE: u64 = 1 << 20;
    let (mut at, mut piece, mut interrupts) = (range.start, range.end - range.start, 0);
    while at < range.end {
        let len = piece.min(range.end - at);
        match fallocate(file, FallocateFlags::empty(), at, len) {
            Ok(()) => (at, interrupts) = (at + len, 0),
            // Some file systems begin again at the start: less of it may get through between two signals.
            Err(Errno::INTR) if interrupts < MAX_INTERRUPTS => {
                interrupts += 1;
                piece = (piece / 2).max(MIN_PIECE);
            }
            // File systems that cannot do that.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(file, &(at..range.end)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allocate_or_part(file: &File, range: &Range<u64>) -> io::Result<()> {
    write_zeros(file, range)
}

fn write_zeros(file: &File, range: &Range<u64>) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(zeros.len() as u64);
        write_at(file, &zeros[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_interrupted_for_ever_fails() {
        let mut calls = 0;
        let error = bounded(|| -> io::Result<()> {
            calls += 1;
            Err(io::ErrorKind::Interrupted.into())
        });
        assert_eq!((error.unwrap_err().kind(), calls), (io::ErrorKind::Interrupted, MAX_INTERRUPTS));
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut left = MAX_INTERRUPTS - 1;
        let answer = bounded(|| match left {
            0 => Ok(7),
            _ => {
                left -= 1;
                Err(io::ErrorKind::Interrupted.into())
            }
        });
        assert_eq!(answer.unwrap(), 7);
    }
}
