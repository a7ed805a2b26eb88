use super::*;
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::builder::BatchBuilder;

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn batch_of(codec: Compression, count: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (i, timestamp) in (0..count).zip(1000..) {
        let value = format!("value {i} {}", "x".repeat(i % 50));
        let headers: &[(&str, Option<&[u8]>)] =
            if i % 3 == 0 { &[("trace", Some(b"1")), ("trace", None)] } else { &[] };
        let key = (i % 2 == 0).then_some(b"key".as_slice());
        builder.append(timestamp, key, (i % 5 != 0).then_some(value.as_bytes()), headers);
    }
    builder.build(50, 3)
}

#[test]
fn every_codec_gives_back_the_records_that_were_appended() {
    for codec in ALL {
        let bytes = batch_of(codec, 500);
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(batch.crc_is_valid());
        assert_eq!((batch.base_offset, batch.last_offset(), batch.record_count), (50, 549, 500));
        assert_eq!((batch.base_timestamp, batch.max_timestamp), (1000, 1499));
        let mut seen = 0;
        for_each_record(&batch, |record| {
            let i = seen;
            assert_eq!((record.offset, record.timestamp), (50 + i, 1000 + i));
            assert_eq!(record.key.is_some(), i % 2 == 0);
            assert_eq!(record.value.is_some(), i % 5 != 0);
            let headers: Vec<_> = record.headers.clone().collect();
            assert_eq!(headers.len(), if i % 3 == 0 { 2 } else { 0 });
            if let Some(last) = headers.last() {
                assert_eq!((last.key, last.value), (b"trace".as_slice(), None));
            }
            seen += 1;
        })
        .unwrap();
        assert_eq!(seen, 500);
        let mut walked = 0;
        walk(&batch, u64::MAX, |shape| {
            assert_eq!(shape.offset_delta, walked);
            walked += 1;
        })
        .unwrap();
        assert_eq!(walked, 500);
    }
}

#[test]
fn batches_are_read_within_one_another_and_after_one_that_was_left() {
    for codec in ALL {
        let (outer, inner) = (batch_of(codec, 300), batch_of(codec, 20));
        let (outer, inner) = (BatchView::parse(&outer).unwrap(), BatchView::parse(&inner).unwrap());
        let (mut outside, mut inside) = (0, 0);
        let offset_of = |n: i64| 50 + n;
        for_each_record(&outer, |record| {
            assert_eq!(record.offset, offset_of(outside));
            outside += 1;
            try_for_each_record(&inner, DECODED_LIMIT_BYTES, |record| {
                assert_eq!(record.offset, offset_of(inside % 7));
                inside += 1;
                if inside % 7 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        })
        .unwrap();
        assert_eq!((outside, inside), (300, 2100), "{codec:?}");
    }
}

#[test]
fn the_buffer_of_a_huge_block_is_not_kept() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.append(0, None, Some(&[7; 100]), &[]);
    walk(&BatchView::parse(&builder.build(0, 0)).unwrap(), u64::MAX, |_| ()).unwrap();
    let kept = || {
        let buffer = BUFFER.take();
        let capacity = buffer.capacity();
        BUFFER.set(buffer);
        capacity
    };
    assert!((1..=KEPT_BUFFER_BYTES).contains(&kept()));
    // One bare block, as librdkafka sends it.
    let huge = snap::raw::Encoder::new().compress_vec(&vec![0; KEPT_BUFFER_BYTES + 1]).unwrap();
    let mut source = StreamSource::new(Compression::Snappy, &huge, u64::MAX).unwrap();
    assert_eq!(source.fill().unwrap().len(), KEPT_BUFFER_BYTES + 1);
    drop(source);
    assert_eq!(kept(), 0);
}

#[test]
fn a_wrong_record_count_is_refused_by_both_walks() {
    for codec in ALL {
        let bytes = batch_of(codec, 10);
        for (count, why) in [
            (9, "records still remaining in file"),
            (11, "premature EOF reached"),
            (-1, "Found invalid record count -1"),
        ] {
            let mut changed = bytes.to_vec();
            let header = BatchHeader { record_count: count, ..BatchView::parse(&bytes).unwrap().header() };
            changed[..HEADER_BYTES].copy_from_slice(&header.encode());
            let batch = BatchView::parse(&changed).unwrap();
            let error = walk(&batch, u64::MAX, |_| {}).unwrap_err().to_string();
            assert!(error.contains(why), "{codec:?} {count}: {error}");
            assert!(for_each_record(&batch, |_| {}).is_err(), "{codec:?} {count}");
        }
    }
}

#[test]
fn a_decompression_bomb_ends_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    for codec in ALL.into_iter().skip(1) {
        let mut builder = BatchBuilder::new(codec);
        builder.append(0, None, Some(&zeros), &[]);
        let bytes = builder.build(0, 0);
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(matches!(walk(&batch, 1 << 20, |_| {}), Err(RecordsError::TooMuch(_))), "{codec:?}");
        let stopped = try_for_each_record(&batch, 1 << 20, |_| ControlFlow::Continue(()));
        assert!(matches!(stopped, Err(RecordsError::TooMuch(_))), "{codec:?}");
        assert!(walk(&batch, 16 << 20, |_| {}).is_ok(), "{codec:?}");
    }
}

#[test]
fn changed_and_cut_records_never_panic() {
    for codec in ALL {
        let bytes = batch_of(codec, 20);
        let length = |len: usize| i32::try_from(len - crate::batch::LOG_OVERHEAD).unwrap();
        for at in HEADER_BYTES..bytes.len() {
            for bit in [0x01, 0x40, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] ^= bit;
                let batch = BatchView::parse(&changed).unwrap();
                let _ = walk(&batch, 1 << 20, |_| {});
                let _ = try_for_each_record(&batch, 1 << 20, |_| ControlFlow::Continue(()));
            }
            let mut cut = bytes[..at].to_vec();
            let header = BatchHeader { length: length(at), ..BatchView::parse(&bytes).unwrap().header() };
            cut[..HEADER_BYTES].copy_from_slice(&header.encode());
            let batch = BatchView::parse(&cut).unwrap();
            let walked = walk(&batch, 1 << 20, |_| {});
            // A codec may hold all its data before its last bytes.
            assert!(walked.is_err() || codec != Compression::None, "cut at {at}");
        }
    }
}

#[test]
fn a_record_that_claims_two_gigabytes_allocates_nothing() {
    let mut records = Vec::new();
    varint::put(&mut records, i64::from(i32::MAX));
    for codec in ALL {
        let mut encoder = crate::compression::Encoder::new(codec, None, vec![0; HEADER_BYTES]);
        encoder.put(&records);
        let mut bytes = encoder.finish();
        let header = BatchHeader {
            length: i32::try_from(bytes.len() - 12).unwrap(),
            attributes: codec as i16,
            record_count: i32::MAX,
            ..BatchView::parse(&batch_of(codec, 1)).unwrap().header()
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(matches!(walk(&batch, 1 << 20, |_| {}), Err(RecordsError::Invalid(_))), "{codec:?}");
        assert!(matches!(for_each_record(&batch, |_| {}), Err(RecordsError::Invalid(_))), "{codec:?}");
    }
}
