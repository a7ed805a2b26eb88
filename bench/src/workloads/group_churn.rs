//! `group-churn`: members that join, send heartbeats, commit and leave, so that their groups are never at rest. Shows what
//! the coordinator does in a second and how long a member waits for its partitions.

use std::sync::Arc;
use std::time::Duration;

use kringle_runtime::Rt;

use crate::cli;
use crate::error::BenchError;
use crate::measure::{Amount, Clock, Recorder, Series, Window, nanos};
use crate::member::{Member, MemberError, Outcome as Step};
use crate::payload::Random;
use crate::plan::Timing;
use crate::report::Outcome;
use crate::session::{Session, Work};
use crate::workloads::Findings;
use crate::workloads::produce::begin;

/// What each member counts: the names of the series, and what their latency is.
const SERIES: [(&str, Option<&str>); 5] = [
    ("joins", Some("join to assignment")),
    ("heartbeats", Some("asked to answered")),
    ("commits", Some("asked to answered")),
    ("leaves", Some("asked to answered")),
    ("generations", None),
];

/// How a member behaves.
#[derive(Clone, Copy)]
struct Habits {
    stay: Duration,
    heartbeat: Duration,
}

pub(crate) fn run(options: &cli::GroupChurn, session: &Session) -> Result<Findings, BenchError> {
    let timing = Timing::from_cli(&options.run);
    let habits = Habits { stay: options.stay, heartbeat: options.heartbeat };
    let (groups, members, seed) = (options.groups, options.members, options.seed);
    let series: Vec<_> = SERIES.iter().map(|(name, of)| Series::new(*name, *of, timing.duration)).collect();
    let (clock, threads, cluster, recorded) = (session.clock, session.threads, session.cluster.clone(), series.clone());
    let work: Work = Arc::new(move |rt, thread, gate| {
        let (cluster, series) = (cluster.clone(), recorded.clone());
        Box::pin(async move {
            let mut opened = Vec::new();
            for number in (0..groups * members).filter(|number| number % threads == thread) {
                let group = format!("kringle-bench-{}", number % groups);
                let random = Random::new(seed.wrapping_add(number as u64));
                opened.push((Member::open(&rt, &cluster, &group).await?, random));
            }
            let Some(window) = gate.pass().await else { return Ok(()) };
            let recorders: Vec<_> = series.iter().map(|one| one.recorder(window)).collect();
            begin(&rt, clock, window).await;
            let tasks: Vec<_> = opened
                .into_iter()
                .map(|(member, random)| {
                    let mut life =
                        Life { rt: rt.clone(), clock, window, habits, member, random, recorders: recorders.clone() };
                    rt.spawn(async move { life.live().await })
                })
                .collect();
            crate::producer::finish(&rt, clock, window, &tasks, &recorders[0]).await;
            Ok(())
        })
    });
    let observed = session.load("group-churn", timing, &series, &work)?;
    let row = |name: &str, value: String| (name.to_owned(), value);
    let plan = vec![
        row("groups", format!("{groups} with {members} members each, a connection for each member")),
        row("members", format!("stay {:?}, heartbeat and commit each {:?}", options.stay, options.heartbeat)),
        row("partitions", session.cluster.places().len().to_string()),
    ];
    let mut notes = vec![
        "a join lasts until the group is complete: it is as long as the members take to notice, which they do with their next \
         heartbeat"
            .to_owned(),
    ];
    if series[1].totals().measured.requests == 0 {
        notes.push(
            "no heartbeat was measured: a new group waits for its members (group.initial.rebalance.delay.ms of the broker), which a longer \
             --warmup leaves out"
                .to_owned(),
        );
    }
    Ok(Findings { notes, ..Findings::of(plan, Outcome::new("group-churn", session.threads, observed, &series)) })
}

/// What a member does until the window is over.
struct Life {
    rt: Rt,
    clock: Clock,
    window: Window,
    habits: Habits,
    member: Member,
    random: Random,
    /// In the order of [`SERIES`].
    recorders: Vec<Recorder>,
}

impl Life {
    async fn live(&mut self) {
        while !self.is_over() {
            let half_ns = nanos(self.habits.stay / 2).max(1);
            let stay_ns = half_ns + self.random.below(2 * half_ns);
            match self.stay(stay_ns).await {
                Ok(()) => {}
                Err(MemberError::Broken(error)) => return self.recorders[0].error(error.to_string()),
                // Whatever went wrong, the member begins anew.
                Err(error) => {
                    self.recorders[0].error(error.to_string());
                    self.rt.sleep(self.habits.heartbeat).await;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.clock.now_ns() >= self.window.end_ns()
    }

    /// From a join to a leave, `stay_ns` in the group.
    async fn stay(&mut self, stay_ns: u64) -> Result<(), MemberError> {
        self.join().await?;
        // A broker that waits for a group's members to come (group.initial.rebalance.delay.ms) takes nothing from their stay.
        let until_ns = self.clock.now_ns() + stay_ns;
        while self.clock.now_ns() < until_ns && !self.is_over() {
            self.rt.sleep(self.habits.heartbeat).await;
            let asked_ns = self.clock.now_ns();
            let heartbeat = self.member.heartbeat().await?;
            self.count(1, asked_ns);
            if let Step::Rejoin = heartbeat {
                self.join().await?;
                continue;
            }
            let asked_ns = self.clock.now_ns();
            let Some(commit) = self.member.commit().await? else { continue };
            self.count(2, asked_ns);
            if let Step::Rejoin = commit {
                self.join().await?;
            }
        }
        let asked_ns = self.clock.now_ns();
        self.member.leave().await?;
        self.count(3, asked_ns);
        Ok(())
    }

    async fn join(&mut self) -> Result<(), MemberError> {
        let asked_ns = self.clock.now_ns();
        let led = self.member.join().await?;
        self.count(0, asked_ns);
        if led {
            self.count(4, asked_ns);
        }
        Ok(())
    }

    fn count(&self, series: usize, asked_ns: u64) {
        let now_ns = self.clock.now_ns();
        self.recorders[series].done(now_ns, Amount { requests: 1, ..Amount::default() });
        self.recorders[series].latency(now_ns, now_ns - asked_ns, 1);
    }
}
