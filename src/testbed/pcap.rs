//! A file of captured frames (the classic pcap format, Ethernet).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A capture that grows. Every frame is in the file as soon as it is written.
#[derive(Debug)]
pub(super) struct Pcap(File);

impl Pcap {
    /// An empty capture.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        for word in [MAGIC, VERSION, 0, 0, SNAP_LENGTH, ETHERNET] {
            header.extend(word.to_le_bytes());
        }
        let mut file = File::create(path)?;
        file.write_all(&header)?;
        Ok(Self(file))
    }

    /// Appends a frame that was seen just now.
    pub(super) fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        // The format's seconds end in 2106.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let mut record = Vec::with_capacity(16 + frame.len());
        for word in [seconds, now.subsec_micros(), length, length] {
            record.extend(word.to_le_bytes());
        }
        record.extend(frame);
        self.0.write_all(&record)
    }
}

/// Little endian, microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
/// 2.4.
const VERSION: u32 = 0x0004_0002;
const SNAP_LENGTH: u32 = 1 << 18;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;
