//! What the settings of a group must be: each in its own range, between the broker's bounds, and sessions longer than
//! heartbeats.

use super::{Judge, Refusal};
use crate::config::resolve::{Configs, Effective};
use crate::config::table;
use crate::config::value::Value;

/// A group's setting; the broker's least value for it, if there is one, and its greatest. In the order of Kafka's checks.
const BOUNDS: [(&str, Option<&str>, &str); 13] = [
    bound(
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    bound(
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    bound(
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    bound(
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    bound("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    bound(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    bound("share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit"),
    bound(
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    bound(
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    bound(
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    bound("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
    bound(
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
];

const fn bound(
    name: &'static str,
    least: &'static str,
    most: &'static str,
) -> (&'static str, Option<&'static str>, &'static str) {
    (name, Some(least), most)
}

impl Judge<'_> {
    pub(super) fn check_group_configs(&self, configs: &Configs) -> Result<(), Refusal> {
        if let Some(name) = configs.keys().find(|name| table::group().get(name).is_none()) {
            return Err(Refusal::config(format!("Unknown group config name: {name}")));
        }
        for setting in table::group().iter() {
            if let Some(raw) = configs.get(setting.name) {
                setting.parse(raw).map_err(|bad| Refusal::config(bad.to_string()))?;
            }
        }
        let effective = Effective::new(self.broker.given(), self.dynamic);
        let number = |name: &str| {
            let value = effective.group_value(table::group().get(name)?, configs)?;
            if let Value::Integer(n) = value { Some(n) } else { None }
        };
        for (name, least, most) in BOUNDS {
            let Some(n) = number(name) else { continue };
            if let Some(least) = least.filter(|least| effective.integer(least).is_some_and(|least| n < least)) {
                return Err(Refusal::config(format!("{name} must be greater than or equal to {least}")));
            }
            if effective.integer(most).is_some_and(|most| n > most) {
                return Err(Refusal::config(format!("{name} must be less than or equal to {most}")));
            }
        }
        for kind in ["consumer", "share", "streams"] {
            let (session, heartbeat) = (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
            if number(&session) <= number(&heartbeat) {
                return Err(Refusal::config(format!("{session} must be greater than {heartbeat}")));
            }
        }
        Ok(())
    }
}
