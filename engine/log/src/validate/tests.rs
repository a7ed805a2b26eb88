use super::*;
use crate::config::LogConfig;
use crate::control::EndTxnMarker;
use crate::records::for_each_record;

const NOW: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    LogConfig::default().rules(TopicPartition::new("t", 0))
}

fn batch(codec: Compression, count: i32) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..count {
        builder.append(NOW - 1000 + i64::from(i), Some(b"k"), Some(b"some value"), &[("h", Some(b"v"))]);
    }
    builder.build(0, -1)
}

/// The bytes with another header, and its checksum.
fn with(bytes: &Bytes, change: impl Fn(&mut BatchHeader)) -> Bytes {
    let mut header = BatchView::parse(bytes).unwrap().header();
    change(&mut header);
    let mut out = bytes.to_vec();
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    header.crc = crc32c::crc32c(&out[CRC_FROM..]);
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    Bytes::from(out)
}

fn client(bytes: &Bytes, rules: &Rules) -> Result<ValidBatch, Refused> {
    validate(bytes, rules, Origin::Client, NOW)
}

fn refusal(bytes: &Bytes, rules: &Rules) -> (ErrorCode, String) {
    let refused = client(bytes, rules).unwrap_err();
    (refused.code, refused.message)
}

#[test]
fn a_good_batch_passes_as_the_very_bytes_that_were_sent() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let sent = batch(codec, 100);
        let valid = client(&sent, &rules()).unwrap();
        assert_eq!(valid.bytes.as_ptr(), sent.as_ptr());
        assert_eq!(valid.bytes, sent);
        assert!(!valid.recompressed && valid.log_append_time_ms.is_none());
    }
}

#[test]
fn what_the_header_says_wrongly_is_refused_in_kafkas_words() {
    let good = batch(Compression::None, 3);
    let rules = rules();
    let case = |change: fn(&mut BatchHeader)| refusal(&with(&good, change), &rules);
    assert_eq!(
        case(|h| h.base_offset = 7),
        (
            ErrorCode::INVALID_RECORD,
            "The baseOffset of the record batch in the append to t-0 should be 0, but it is 7".into()
        )
    );
    assert_eq!(
        case(|h| h.record_count = 4),
        (
            ErrorCode::INVALID_RECORD,
            "Inconsistent batch offset range [0, 2] and count of records 4 in topic partition t-0".into()
        )
    );
    assert_eq!(
        case(|h| h.record_count = 0),
        (ErrorCode::INVALID_RECORD, "Invalid reported count for record batch: 0 in topic partition t-0".into())
    );
    assert_eq!(
        case(|h| h.last_offset_delta = -2),
        (ErrorCode::INVALID_RECORD, "Batch has an invalid offset range: [0, -2] in topic partition t-0".into())
    );
    assert_eq!(
        case(|h| h.producer_id = 9),
        (
            ErrorCode::INVALID_RECORD,
            "Invalid sequence number -1 in record batch with producerId 9 in topic partition t-0".into()
        )
    );
    assert_eq!(case(|h| h.attributes |= 5).0, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(
        refusal(&EndTxnMarker { commit: true, coordinator_epoch: 0 }.batch(1, 0, NOW), &rules).1,
        "Clients are not allowed to write control records in topic partition t-0"
    );
}

#[test]
fn a_batch_with_a_bad_crc_is_refused() {
    let mut bytes = batch(Compression::None, 3).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let crc = BatchView::parse(&bytes).unwrap().crc;
    let expected = format!("Record is corrupt (stored crc = {crc}) in topic partition t-0.");
    assert_eq!(refusal(&Bytes::from(bytes), &rules()), (ErrorCode::CORRUPT_MESSAGE, expected));
}

#[test]
fn exactly_one_batch_of_format_2_is_taken() {
    let one = batch(Compression::None, 1);
    let twice = Bytes::from([&one[..], &one[..]].concat());
    assert_eq!(refusal(&twice, &rules()).0, ErrorCode::INVALID_RECORD);
    assert_eq!(refusal(&Bytes::new(), &rules()).0, ErrorCode::INVALID_RECORD);
    assert_eq!(refusal(&one.slice(..one.len() - 1), &rules()).0, ErrorCode::INVALID_RECORD);
    let mut old = one.to_vec();
    old[16] = 1;
    assert_eq!(refusal(&Bytes::from(old.clone()), &rules()).0, ErrorCode::INVALID_RECORD);
    old[16] = 9;
    assert_eq!(refusal(&Bytes::from(old), &rules()).0, ErrorCode::CORRUPT_MESSAGE);
    let with_rest = Bytes::from([&one[..], &one[..20]].concat());
    assert_eq!(client(&with_rest, &rules()).unwrap().bytes, one, "what is no whole batch is cut off");
}

#[test]
fn sizes_are_checked_as_sent_and_as_stored() {
    let small = Rules { max_message_bytes: 500, ..rules() };
    let (code, message) = refusal(&batch(Compression::None, 100), &small);
    assert_eq!(code, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(message.starts_with("The record batch size in the append to t-0 is "), "{message}");
    let sent = batch(Compression::Zstd, 100);
    assert!(sent.len() < 500 && client(&sent, &small).is_ok());
    let unpacked = Rules { compression: TopicCompression::Codec(Compression::None, None), ..small };
    assert_eq!(refusal(&sent, &unpacked).0, ErrorCode::MESSAGE_TOO_LARGE);
    let segment = Rules { segment_bytes: 100, ..rules() };
    assert_eq!(refusal(&sent, &segment).0, ErrorCode::RECORD_LIST_TOO_LARGE);
}

#[test]
fn timestamps_out_of_range_refuse_the_whole_batch_and_name_the_records() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(NOW, None, None, &[]);
    builder.append(NOW + 3_600_001, None, None, &[]);
    let refused = client(&builder.build(0, -1), &rules()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_TIMESTAMP);
    assert_eq!(refused.response_message(), Some("One or more records have been rejected due to invalid timestamp"));
    let expected = format!(
        "Timestamp {} of message with offset 1 is out of range. The timestamp should be within [{}, {}]",
        NOW + 3_600_001,
        NOW.wrapping_sub(i64::MAX),
        NOW + 3_600_000
    );
    assert_eq!(refused.record_errors, vec![(1, Some(expected))]);
}

#[test]
fn compacted_topics_need_keys_and_the_first_three_errors_are_shown() {
    for codec in [Compression::None, Compression::Lz4] {
        let mut builder = BatchBuilder::new(codec);
        for i in 0..5 {
            builder.append(NOW, (i == 0).then_some(b"k".as_slice()), None, &[]);
        }
        let refused = client(&builder.build(0, -1), &Rules { compacted: true, ..rules() }).unwrap_err();
        assert_eq!(refused.code, ErrorCode::INVALID_RECORD);
        assert_eq!(refused.record_errors.len(), 4);
        let one = |i| {
            format!(
                "RecordError(batchIndex={i}, message='Compacted topic cannot accept message without key in topic partition t-0')"
            )
        };
        assert_eq!(
            refused.message,
            format!(
                "One or more records have been rejected due to 4 record errors in total, and only showing the first three errors at most: [{}, {}, {}]",
                one(1),
                one(2),
                one(3)
            )
        );
    }
}

#[test]
fn a_wrong_max_timestamp_is_mended_with_its_checksum_and_nothing_else_changes() {
    for codec in [Compression::None, Compression::Gzip] {
        let good = batch(codec, 10);
        let wrong = with(&good, |h| h.max_timestamp = 5);
        let valid = client(&wrong, &rules()).unwrap();
        assert_eq!(valid.bytes, good);
        assert!(BatchView::parse(&valid.bytes).unwrap().crc_is_valid());
    }
}

#[test]
fn log_append_time_rewrites_the_header_and_reads_as_one_timestamp() {
    let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let sent = batch(Compression::Snappy, 3);
    let valid = client(&sent, &rules).unwrap();
    assert_eq!(valid.log_append_time_ms, Some(NOW));
    let stored = BatchView::parse(&valid.bytes).unwrap();
    assert!(stored.crc_is_valid());
    assert_eq!((stored.timestamp_type(), stored.max_timestamp), (TimestampType::LogAppendTime, NOW));
    assert_eq!(valid.bytes[HEADER_BYTES..], sent[HEADER_BYTES..]);
    for_each_record(&stored, |record| assert_eq!(record.timestamp, NOW)).unwrap();
    let by_producer = with(&sent, |h| h.attributes |= 8);
    assert_eq!(refusal(&by_producer, &rules).0, ErrorCode::INVALID_TIMESTAMP);
}

#[test]
fn another_codec_of_the_topic_recompresses_and_keeps_everything_else() {
    let mut sent = BatchBuilder::new(Compression::Gzip).producer(7, 1, 40);
    sent.append(NOW - 5, Some(b"a"), None, &[("h", None)]);
    sent.append(NOW - 9, None, Some(b"b"), &[]);
    let sent = sent.build(0, -1);
    for target in [Compression::None, Compression::Zstd, Compression::Lz4, Compression::Snappy] {
        let rules = Rules { compression: TopicCompression::Codec(target, None), ..rules() };
        let valid = client(&sent, &rules).unwrap();
        assert!(valid.recompressed);
        let stored = BatchView::parse(&valid.bytes).unwrap();
        assert!(stored.crc_is_valid());
        assert_eq!(stored.compression(), Some(target));
        assert_eq!((stored.producer_id, stored.producer_epoch, stored.base_sequence), (7, 1, 40));
        assert_eq!((stored.base_timestamp, stored.max_timestamp), (NOW - 5, NOW - 5));
        let mut seen = Vec::new();
        for_each_record(&stored, |r| seen.push((r.timestamp, r.key.map(<[u8]>::len), r.headers.len()))).unwrap();
        assert_eq!(seen, [(NOW - 5, Some(1), 1), (NOW - 9, None, 0)]);
    }
    let same = Rules { compression: TopicCompression::Codec(Compression::Gzip, None), ..rules() };
    assert_eq!(client(&sent, &same).unwrap().bytes.as_ptr(), sent.as_ptr());
}

#[test]
fn a_bomb_is_refused_at_the_rules_limit() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.append(NOW, None, Some(&vec![0; 4 << 20]), &[]);
    let rules = Rules { decoded_limit_bytes: 1 << 20, ..rules() };
    assert_eq!(refusal(&builder.build(0, -1), &rules).0, ErrorCode::INVALID_RECORD);
}

#[test]
fn coordinators_and_the_metadata_leader_may_write_control_batches() {
    let marker = EndTxnMarker { commit: true, coordinator_epoch: 4 };
    let bytes = marker.batch(3, 0, NOW);
    for origin in [Origin::Coordinator, Origin::RaftLeader] {
        let valid = validate(&bytes, &rules(), origin, NOW).unwrap();
        let view = BatchView::parse(&valid.bytes).unwrap();
        assert_eq!(EndTxnMarker::of(&view).unwrap(), Some((marker, NOW)));
    }
}
