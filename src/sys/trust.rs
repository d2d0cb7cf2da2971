//! What may be relied upon: the kind of file system, and whether it is still the same boot.
//!
//! A store lives on shared memory and kernel locks. On a local file system both mean the same to
//! every process; on a network file system, or one in user space, two machines see two memories, and
//! a store there would be torn without anybody noticing. Copy-on-write file systems share memory
//! well, but what was allocated once may need space again at the next change.
//!
//! The boot identity answers whether pages that were never synced can still be in memory.

use std::fs::File;
use std::io::{self, Read};

use crate::sys::file::Dir;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// Where a directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A local file system that writes in place: everything that is promised holds.
    Local,
    /// A local file system that never writes in place: a full disk may end a process that changes
    /// a mapped page (SIGBUS), although the page was allocated. Its name.
    CopyOnWrite(&'static str),
    /// Memory and locks are not shared with everybody who sees the files. Its name.
    Network(&'static str),
}

const AFS: u32 = 0x5346_414F;
const BCACHEFS: u32 = 0xCA45_1A4E;
const BEEGFS: u32 = 0x1983_0326;
const BTRFS: u32 = 0x9123_683E;
const CEPH: u32 = 0x00C3_6400;
const CIFS: u32 = 0xFF53_4D42;
const CODA: u32 = 0x7375_7245;
const FUSE: u32 = 0x6573_5546;
const GFS2: u32 = 0x0116_1970;
const GPFS: u32 = 0x4750_4653;
const KAFS: u32 = 0x6B41_4653;
const LUSTRE: u32 = 0x0BD0_0BD0;
const NCP: u32 = 0x0000_564C;
const NFS: u32 = 0x0000_6969;
const NINE_P: u32 = 0x0102_1997;
const OCFS2: u32 = 0x7461_636F;
const OVERLAY: u32 = 0x794C_7630;
const SMB: u32 = 0x0000_517B;
const SMB2: u32 = 0xFE53_4D42;
const VBOXSF: u32 = 0x786F_4256;
const VMHGFS: u32 = 0xBACB_ACBC;
const ZFS: u32 = 0x2FC1_2FC1;

fn classify(magic: u32) -> Place {
    match magic {
        BTRFS => Place::CopyOnWrite("btrfs"),
        ZFS => Place::CopyOnWrite("ZFS"),
        BCACHEFS => Place::CopyOnWrite("bcachefs"),
        NFS => Place::Network("NFS"),
        CIFS | SMB | SMB2 => Place::Network("SMB"),
        NINE_P => Place::Network("9p"),
        FUSE => Place::Network("FUSE"),
        CEPH => Place::Network("Ceph"),
        AFS | KAFS => Place::Network("AFS"),
        CODA => Place::Network("Coda"),
        NCP => Place::Network("NCP"),
        GFS2 => Place::Network("GFS2"),
        OCFS2 => Place::Network("OCFS2"),
        GPFS => Place::Network("GPFS"),
        LUSTRE => Place::Network("Lustre"),
        BEEGFS => Place::Network("BeeGFS"),
        VBOXSF => Place::Network("vboxsf"),
        VMHGFS => Place::Network("vmhgfs"),
        _ => Place::Local,
    }
}

/// Tells where `dir` lies. A file system that is not known counts as local.
pub(crate) fn place(dir: &Dir) -> io::Result<Place> {
    #[cfg(test)]
    if let Some(place) = pretend::place() {
        return Ok(place);
    }
    Ok(classify(dir.file_system()?))
}

/// Whether a map of a file in `dir` is known not to keep that file open: overlayfs maps the file
/// below it instead.
pub(crate) fn maps_another_file(dir: &Dir) -> io::Result<bool> {
    Ok(dir.file_system()? == OVERLAY)
}

const UNKNOWN: u32 = 0;
const PRESENT: u32 = 1;
const ABSENT: u32 = 2;

static BOOT_STATE: AtomicU32 = AtomicU32::new(UNKNOWN);
static BOOT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// The kernel's random number for this boot; `None` where it cannot be read, which is to be taken
/// for "another boot". Read once for each process.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    #[cfg(test)]
    if let Some(boot) = pretend::boot() {
        return boot;
    }
    // ORDERING: Acquire, pairs with the store below. Threads that come first at once all read the
    // same file and store the same numbers, so that no lock is needed (which a fork could break).
    let state = BOOT_STATE.load(Ordering::Acquire);
    if state == UNKNOWN {
        let read = read_boot_id();
        let halves = read.map_or([0, 0], split);
        for (to, half) in BOOT.iter().zip(halves) {
            to.store(half, Ordering::Relaxed);
        }
        let found = if read.is_some() { PRESENT } else { ABSENT };
        BOOT_STATE.store(found, Ordering::Release);
        return read;
    }
    let [high, low] = [BOOT[0].load(Ordering::Relaxed), BOOT[1].load(Ordering::Relaxed)];
    (state == PRESENT).then(|| ((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}

fn split(id: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_be_bytes(id);
    let [high, low] = [whole >> 64, whole & u128::from(u64::MAX)];
    [high, low].map(|half| u64::try_from(half).unwrap_or_default())
}

fn read_boot_id() -> Option<[u8; 16]> {
    let mut text = [0; 36];
    File::open("/proc/sys/kernel/random/boot_id").ok()?.read_exact(&mut text).ok()?;
    parse_boot_id(&text)
}

/// Thirty-two hexadecimal digits, with dashes between them that do not count.
fn parse_boot_id(text: &[u8]) -> Option<[u8; 16]> {
    let mut whole: u128 = 0;
    let mut digits = 0;
    for &byte in text.iter().filter(|&&byte| byte != b'-') {
        let digit = char::from(byte).to_digit(16)?;
        digits += 1;
        whole = (whole << 4) | u128::from(digit);
    }
    (digits == 32 && whole != 0).then(|| whole.to_be_bytes())
}

/// Lets a test stand on a file system or in a boot that the machine does not have. Holds for the
/// calling thread, until what was returned is dropped.
#[cfg(test)]
pub(crate) mod pretend {
    use std::cell::Cell;

    use super::Place;

    thread_local! {
        static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
        static BOOT: Cell<Option<Option<[u8; 16]>>> = const { Cell::new(None) };
    }

    /// Ends the pretence when dropped.
    #[must_use]
    pub(crate) struct Pretence(());

    impl Drop for Pretence {
        fn drop(&mut self) {
            PLACE.set(None);
            BOOT.set(None);
        }
    }

    /// Every directory lies there.
    pub(crate) fn set_place(place: Place) -> Pretence {
        PLACE.set(Some(place));
        Pretence(())
    }

    /// The boot has this identity, or none.
    pub(crate) fn set_boot(boot: Option<[u8; 16]>) -> Pretence {
        BOOT.set(Some(boot));
        Pretence(())
    }

    pub(super) fn place() -> Option<Place> {
        PLACE.get()
    }

    pub(super) fn boot() -> Option<Option<[u8; 16]>> {
        BOOT.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Mounted;

    #[test]
    fn kinds_of_file_systems_are_told_apart() {
        const EXT4: u32 = 0xEF53;
        const TMPFS: u32 = 0x0102_1994;
        const XFS: u32 = 0x5846_5342;
        for local in [EXT4, TMPFS, XFS, OVERLAY] {
            assert_eq!(classify(local), Place::Local);
        }
        let far = [
            (NFS, "NFS"),
            (CIFS, "SMB"),
            (SMB, "SMB"),
            (SMB2, "SMB"),
            (NINE_P, "9p"),
            (FUSE, "FUSE"),
            (CEPH, "Ceph"),
            (AFS, "AFS"),
            (KAFS, "AFS"),
            (CODA, "Coda"),
            (NCP, "NCP"),
            (GFS2, "GFS2"),
            (OCFS2, "OCFS2"),
            (GPFS, "GPFS"),
            (LUSTRE, "Lustre"),
            (BEEGFS, "BeeGFS"),
            (VBOXSF, "vboxsf"),
            (VMHGFS, "vmhgfs"),
        ];
        for (magic, name) in far {
            assert_eq!(classify(magic), Place::Network(name));
        }
        for (magic, name) in [(BTRFS, "btrfs"), (ZFS, "ZFS"), (BCACHEFS, "bcachefs")] {
            assert_eq!(classify(magic), Place::CopyOnWrite(name));
        }
    }

    #[test]
    fn a_directory_is_classified_and_a_test_can_pretend() {
        let place_of = tempfile::tempdir().unwrap();
        let dir = Dir::open(place_of.path()).unwrap();
        let real = place(&dir).unwrap();
        {
            let _pretence = pretend::set_place(Place::Network("NFS"));
            assert_eq!(place(&dir).unwrap(), Place::Network("NFS"));
        }
        assert_eq!(place(&dir).unwrap(), real);
    }

    #[test]
    fn overlays_are_known_by_their_name() {
        let (tmpfs, overlay) = (Mounted::tmpfs(64), Mounted::overlay());
        for (mount, expected) in [(tmpfs, false), (overlay, true)] {
            let Some(mount) = mount else { continue };
            let dir = Dir::open(&mount.path()).unwrap();
            assert_eq!(maps_another_file(&dir).unwrap(), expected);
        }
    }

    #[test]
    fn proc_is_no_network() {
        assert_eq!(place(&Dir::open("/proc".as_ref()).unwrap()).unwrap(), Place::Local);
    }

    #[test]
    fn the_boot_identity_is_the_kernels_and_stays() {
        let first = boot_id();
        assert_eq!(first, read_boot_id());
        let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        assert_eq!(first, told.and_then(|text| parse_boot_id(text.trim_end().as_bytes())));
        assert_eq!(first, boot_id());
        let _pretence = pretend::set_boot(Some([7; 16]));
        assert_eq!(boot_id(), Some([7; 16]));
    }

    #[test]
    fn boot_identities_are_parsed_strictly() {
        let text = b"01234567-89ab-cdef-0123-456789abcdef";
        let id = parse_boot_id(text).unwrap();
        assert_eq!(id[..9], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01]);
        let [high, low] = split(id);
        assert_eq!([high, low], [0x0123_4567_89ab_cdef; 2]);
        for bad in ["", "0", "x1234567-89ab-cdef-0123-456789abcdef"] {
            assert_eq!(parse_boot_id(bad.as_bytes()), None);
        }
        assert_eq!(parse_boot_id(&[b'0'; 32]), None);
        assert_eq!(parse_boot_id(&[b'1'; 33]), None);
    }
}
