//! Files behave the same through the driver and inline, on the real disk and in the simulator.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests too; one drops a file from the page cache itself"
)]

mod common;

use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use common::{World, on_each_driver, on_each_real_driver};
use kringle_runtime::{FrameBuf, Open};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

#[test]
fn what_is_written_through_the_driver_is_read_back_through_it() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        let bufs: Vec<Bytes> = (0..3000u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes())).collect();
        rt.write_at(&file, bufs, 5).await.unwrap();
        rt.datasync(&file).await.unwrap();
        rt.sync_range(&file, 0, 4096).await.unwrap();
        let (read, buf) = rt.read_at(&file, 5, rt.frame_buf(20_000)).await;
        assert_eq!(read.unwrap(), 12_000);
        assert_eq!(&buf[11_996..], &2999u32.to_be_bytes());
        let (read, buf) = rt.read_at(&file, 12_005, buf).await;
        assert_eq!((read.unwrap(), buf.len()), (0, 12_000));
        assert_eq!(file.len().unwrap(), 12_005);
    });
}

#[test]
fn a_read_appends_behind_what_the_buffer_holds() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::Create).unwrap();
        file.write_all_at(&mut [IoSlice::new(b"hello "), IoSlice::new(b""), IoSlice::new(b"world")], 0).unwrap();
        let mut buf = FrameBuf::unpooled(8);
        buf.extend_from_slice(b"> ");
        let (read, buf) = rt.read_at(&file, 6, buf).await;
        assert_eq!(read.unwrap(), 5);
        assert_eq!(&buf[..], b"> world");
    });
}

#[test]
fn inline_reads_and_writes_agree_with_the_length() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        file.allocate_keep_size(0, 1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 0);
        file.write_all_at(&mut [IoSlice::new(&[7; 10_000])], 100).unwrap();
        assert_eq!(file.len().unwrap(), 10_100);
        let mut bytes = [1; 200];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((&bytes[..100], &bytes[100..]), (&[0; 100][..], &[7; 100][..]));
        assert_eq!(file.read_exact_at(&mut bytes, 10_000).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.set_len(50).unwrap();
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 50);
        file.sync_data().unwrap();
        file.sync_all().unwrap();
    });
}

#[test]
fn direct_reads_see_the_synced_bytes_at_any_position() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..20_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
        file.sync_all().unwrap();
        match file.read_direct(4090, 9000) {
            Ok(read) => assert_eq!(read, bytes[4090..13_090]),
            Err(e) => assert_eq!(e.kind(), ErrorKind::InvalidInput, "file systems without O_DIRECT say so"),
        }
        if let Ok(read) = file.read_direct(19_990, 9000) {
            assert_eq!(read, bytes[19_990..]);
        }
    });
}

#[test]
fn what_was_just_written_is_in_the_page_cache() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        file.write_all_at(&mut [IoSlice::new(&[7; 100_000])], 0).unwrap();
        assert_eq!(file.cached_prefix(10, 99_990), 99_990);
        assert_eq!(file.cached_prefix(10, 0), 0);
    });
}

#[test]
fn more_is_asked_of_the_disk_before_a_reader_of_cold_bytes_has_come_to_the_end_of_what_was_asked_for() {
    const WINDOW: u64 = 1 << 20;
    on_each_real_driver(async |World { rt, .. }| {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = home.path().join("a");
        let file = rt.fs().open(&path, Open::CreateNew).unwrap();
        file.write_all_at(&mut [IoSlice::new(&vec![7; 5 << 20])], 0).unwrap();
        file.sync_all().unwrap();
        let same = std::fs::File::open(&path).unwrap();
        posix_fadvise(&same, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        assert_eq!(file.read_ahead(0, WINDOW), None, "nobody has met with anything cold");

        rt.will_need(&file, 5000, WINDOW).await.unwrap();
        let end = (5000 + WINDOW).next_multiple_of(4096);
        assert_eq!(file.read_ahead(end - WINDOW / 2 - 1, WINDOW), None, "not yet");
        assert_eq!(file.read_ahead(end - WINDOW / 2, WINDOW), Some(end));
        assert_eq!(file.read_ahead(end - 1, WINDOW), None, "it is asked for");
        assert_eq!(file.read_ahead(end + WINDOW - 1, WINDOW), Some(end + WINDOW));

        let mut there = [0];
        file.read_exact_at(&mut there, end + 2 * WINDOW).unwrap();
        assert_eq!(file.read_ahead(end + 2 * WINDOW - 1, WINDOW), None, "what follows is in memory");
        rt.will_need(&file, 4 * WINDOW, WINDOW).await.unwrap();
        assert_eq!(file.read_ahead(5 * WINDOW - 1, WINDOW), None, "the file ends");
    });
}

#[test]
fn what_is_not_in_the_page_cache_is_told_from_what_is_and_can_be_asked_for() {
    const LEN: usize = 3_000_000;
    on_each_real_driver(async |World { rt, .. }| {
        // On the disk of the build rather than in a temporary directory, which may be memory that nothing drops.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = home.path().join("a");
        let file = rt.fs().open(&path, Open::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..LEN).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
        file.sync_all().unwrap();
        let same = std::fs::File::open(&path).unwrap();
        posix_fadvise(&same, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        assert_eq!(file.cached_prefix(5000, 100_000), 0);
        let mut some = [0; 100];
        let cold = file.read_exact_cached_at(&mut some, 2_000_000).unwrap_err();
        assert_eq!(cold.kind(), ErrorKind::WouldBlock);

        rt.will_need(&file, 5000, 1_000_000).await.unwrap();
        rt.read_at(&file, 1_004_999, rt.frame_buf(1)).await.0.unwrap();
        // The last page is there, and what the disk has read in another order will be.
        while file.cached_prefix(5000, 1_000_000) < 1_000_000 {
            rt.sleep(Duration::from_millis(1)).await;
        }
        let mut all = vec![0; 1_000_000];
        file.read_exact_cached_at(&mut all, 5000).unwrap();
        assert!(all == bytes[5000..1_005_000]);
        file.read_exact_at(&mut some, 2_000_000).unwrap();
        file.read_exact_cached_at(&mut some, 2_000_000).unwrap();
        assert_eq!(some[..], bytes[2_000_000..2_000_100]);
        let beyond = file.read_exact_cached_at(&mut some, LEN as u64 - 50);
        assert!(beyond.is_err(), "the file ends before");
    });
}

#[test]
fn an_atomic_write_replaces_the_whole_file_and_leaves_no_other() {
    on_each_driver(async |World { rt, dir, .. }| {
        let path = dir.join("checkpoint");
        rt.fs().write_atomic(&path, b"a long first content").unwrap();
        rt.fs().write_atomic(&path, b"short").unwrap();
        assert_eq!(rt.fs().read_to_string(&path).unwrap(), "short");
        let names: Vec<String> = rt.fs().list(&dir).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["checkpoint"]);
    });
}

#[test]
fn directories_are_made_listed_renamed_and_removed() {
    on_each_driver(async |World { rt, dir, .. }| {
        let fs = rt.fs();
        fs.create_dir_all(dir.join("t-0/deep")).unwrap();
        fs.create_dir_all(dir.join("t-0/deep")).unwrap();
        fs.open(dir.join("b.log"), Open::CreateNew).unwrap().set_len(9).unwrap();
        assert_eq!(fs.open(dir.join("b.log"), Open::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs.open(dir.join("c.log"), Open::ReadWrite).unwrap_err().kind(), ErrorKind::NotFound);
        let entries = fs.list(&dir).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        assert_eq!(seen, [("b.log", false), ("t-0", true)]);
        assert_eq!(entries[0].len, 9);
        assert!((fs.wall_ms() - entries[0].modified_ms).abs() < 60_000);
        fs.rename(dir.join("t-0"), dir.join("t-0.x-delete")).unwrap();
        assert!(fs.is_dir(dir.join("t-0.x-delete/deep")) && !fs.exists(dir.join("t-0")));
        fs.remove_dir_all(dir.join("t-0.x-delete")).unwrap();
        fs.remove_file(dir.join("b.log")).unwrap();
        fs.sync_dir(&dir).unwrap();
        fs.sync_fs(&dir).unwrap();
        assert!(fs.list(&dir).unwrap().is_empty());
        assert_eq!(fs.list(dir.join("gone")).unwrap_err().kind(), ErrorKind::NotFound);
        let (total, usable) = fs.space(&dir).unwrap();
        assert!(total >= usable && usable > 0);
    });
}

#[test]
fn a_removed_file_stays_readable_for_those_who_have_it_open() {
    on_each_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        file.write_all_at(&mut [IoSlice::new(b"still here")], 0).unwrap();
        rt.fs().remove_file(dir.join("a")).unwrap();
        let (read, buf) = rt.read_at(&file, 0, rt.frame_buf(100)).await;
        assert_eq!((read.unwrap(), &buf[..]), (10, &b"still here"[..]));
    });
}

#[test]
fn a_locked_file_cannot_be_locked_again_until_the_lock_is_dropped() {
    on_each_driver(async |World { rt, dir, .. }| {
        let path = dir.join(".lock");
        let lock = rt.fs().lock(&path).unwrap();
        assert_eq!(rt.fs().lock(&path).err().map(|e| e.kind()), Some(ErrorKind::WouldBlock));
        assert_eq!(rt.fs().lock(&path).err().map(|e| e.kind()), Some(ErrorKind::WouldBlock));
        drop(lock);
        rt.fs().lock(&path).unwrap();
    });
}

#[test]
fn a_lock_keeps_other_processes_out() {
    on_each_real_driver(async |World { rt, dir, .. }| {
        let path = dir.join(".lock");
        let _lock = rt.fs().lock(&path).unwrap();
        let attempt = "import fcntl,sys; fcntl.lockf(open(sys.argv[1],'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)";
        let out = std::process::Command::new("python3").arg("-c").arg(attempt).arg(&path).output();
        // Without an interpreter there is no other process to ask.
        if let Ok(out) = out {
            assert!(String::from_utf8_lossy(&out.stderr).contains("BlockingIOError"), "{out:?}");
        }
    });
}

#[test]
fn a_write_that_nobody_waits_for_still_completes_with_its_bytes() {
    on_each_real_driver(async |World { rt, dir, .. }| {
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        let bytes = Bytes::from(vec![9; 300_000]);
        assert!(rt.timeout(std::time::Duration::ZERO, rt.write_at(&file, vec![bytes], 0)).await.is_none());
        while rt.stats().in_flight > 0 {
            rt.yield_now().await;
        }
        assert_eq!(file.len().unwrap(), 300_000);
    });
}
