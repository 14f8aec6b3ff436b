//! Two clocks: the station's, by which audio arrives, and the sound card's, by which it is played.
//!
//! They differ by some 10 to 200 parts in a million, seldom by thousands, and what is buffered ahead of the listener grows
//! or shrinks by that, until it is gone or too much. [`Drift`] sees that coming, from how much is ahead, and says at
//! which speed to play so that it stays.
//!
//! # What is seen
//! Audio comes in packets and bursts, late, and after a stall all at once; none of which is drift. What is ahead right
//! after an arrival is what the network cannot make more of, so of every twenty seconds only the highest level counts.
//! A level that jumps is the network's doing, too, since clocks creep: it is passed over, and if it stays, it is what is
//! held from then on.
//!
//! The speed is 1.0, exactly, until it is certain that the clocks differ: a Kalman filter of two states, how much is off
//! and how far the clocks are apart, knows by how the levels scatter how sure it can be. Then the stream is played at
//! the station's pace, and a little beside it for some ten minutes, until what went off meanwhile is made up for. Once
//! next to no drift is found for ten minutes, the speed is exactly 1.0 again.
//!
//! # What is heard
//! Nothing. The finest ear in the table that J. O. Smith gives in *Spectral Audio Signal Processing* ("Minimum
//! Zero-Padding for Low-Frequency Peaks", after measurements at 60 dB) tells two tones of 2 kHz apart that differ by
//! 0.18 %, 3.1 cents, one right after the other; PulseAudio goes by 5 cents, and changes its rates by 3.5 at a time
//! ("Limit rate adjustments to small, inaudible jumps"). Here the speed moves by no more than 50 parts in a million a
//! second: 0.18 % takes 36 seconds. Flutter, to which ears are keenest at some four turns a second, cannot come of that.
//!
//! # What was simulated
//! Stations for hours, with packets and bursts of 25 ms to 4 s, jitter, and a stall of ten seconds, in the tests below
//! (`cargo test -p roundelay-player --lib drift -- --nocapture` prints it):
//!
//! | clocks apart by | first corrected after | within 10 % + 30 ppm after | speed beyond that by | lead off by |
//! |---|---|---|---|---|
//! | 20 ppm | 47 min to 5 h | 1.1 to 7.4 h | 134 to 504 ppm | 79 to 354 ms |
//! | 200 ppm | 7 to 19 min | 18 to 41 min | 132 to 393 ppm | 90 to 229 ms |
//! | 1000 ppm | 3 to 5 min | 5 to 20 min | 276 to 1019 ppm | 194 to 317 ms |
//! | 3000 ppm | 2 to 3 min | 5 to 17 min | 508 to 1363 ppm | 458 to 585 ms |
//!
//! What the speed goes beyond is what it makes up for: 2.4 cents at the most. It never moved faster than 50 ppm a second.
//! Clocks that agree were left alone in all 25 nights of 12 hours.

use std::time::Duration;

/// How far the speed goes from 1.0.
const MOST_CORRECTION: f64 = 0.005;

/// How fast the speed changes, in a second.
const MOST_SLOPE: f64 = 50e-6;

/// Of what is seen in so long, the highest level counts. Longer than a stall that is to go unnoticed, and long enough for
/// several bursts.
const WINDOW: Duration = Duration::from_secs(20);

/// A window in which less was seen says nothing.
const LEAST_OBSERVATIONS: u32 = 10;

/// Nothing seen for so long: nobody was playing.
const GAP: Duration = Duration::from_secs(5);

/// Two levels that are no further apart are of a stream that has settled.
const SETTLED_SECONDS: f64 = 0.3;

/// A level that is further from the last one, beyond what the clocks can do, has jumped.
const JUMP_SECONDS: f64 = 0.5;

/// After so many that have jumped, the stream may be somewhere else for good.
const JUMPED_LEVELS: u32 = 3;

/// A level off by less is not worth losing the exact copy; one that is off by more has to be brought back.
const LEAST_OFF_SECONDS: f64 = 0.08;
const MOST_OFF_SECONDS: f64 = 0.3;

/// A drift of so many standard deviations is certain.
const CERTAIN_DEVIATIONS: f64 = 5.0;

/// What is off is brought back within some ten minutes.
const PULL: f64 = 1.0 / 600.0;

/// A drift of less is none, if it is found for so many levels.
const LEAST_DRIFT: f64 = 8e-6;
const CALM_LEVELS: u32 = 30;

/// What is believed before anything is seen: of the clocks, and of how levels scatter, as if so many had been seen.
const DRIFT_DEVIATION: f64 = 1_000e-6;
const SCATTER_SECONDS: f64 = 0.04;
const SCATTER_LEVELS: f64 = 4.0;

/// No two levels are closer than what is between two looks at them.
const LEAST_SCATTER_SECONDS: f64 = 0.01;

/// How far the clocks wander from one level to the next.
const WANDER_DEVIATION: f64 = 0.5e-6;

/// Finds out how the clocks differ. See the [module](self).
///
/// # Real-time
/// For the thread that converts. Never allocates, locks or enters the kernel.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    /// What the speed differs from 1.0 by, and what it is to differ by.
    correction: f64,
    goal: f64,
    /// What that has taken from the lead so far, in seconds.
    taken_seconds: f64,
    /// The drift is certain.
    engaged: bool,
    calm_levels: u32,
    last_seen: Option<Duration>,
    window: Option<Window>,
    levels: Levels,
    clocks: Clocks,
}

/// A stretch of time, and the most that was ahead in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Duration,
    observations: u32,
    peak: Level,
}

/// What was ahead at one time.
#[derive(Clone, Copy, Debug)]
struct Level {
    at: Duration,
    seconds: f64,
    /// What the correction had taken by then.
    taken_seconds: f64,
}

/// The levels since the last restart.
#[derive(Clone, Debug, Default)]
struct Levels {
    /// What is to be held.
    target_seconds: Option<f64>,
    last: Option<Level>,
    before: Option<Level>,
    /// Of the last ones, those that have jumped, and where the last of them was.
    jumped: u32,
    jumped_to_seconds: f64,
}

/// What the levels say about the clocks: a Kalman filter of two states.
#[derive(Clone, Debug)]
struct Clocks {
    /// How much more is ahead than should be, without what is scatter.
    off_seconds: f64,
    /// By how much faster the station's clock is.
    drift: f64,
    /// How uncertain these are, and how far together: variances and covariance.
    off_variance: f64,
    drift_variance: f64,
    covariance: f64,
    /// Standard deviation of levels around what they should be, and how many taught it.
    scatter_seconds: f64,
    scatter_levels: f64,
}

impl Drift {
    /// At the speed 1.0, for clocks of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note that `lead` is buffered ahead of the listener, all in all, at the time `now`, by any clock that goes on;
    /// and returns the speed to play at, within 0.5 % of 1.0.
    ///
    /// To be called some one to ten times a second, while it plays: best right after something has arrived.
    pub fn observe(&mut self, now: Duration, lead: Duration) -> f64 {
        let elapsed = self.last_seen.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last_seen = Some(now);
        self.taken_seconds += self.correction * elapsed.as_secs_f64();
        if elapsed > GAP {
            self.window = None;
        }
        let level = Level { at: now, seconds: lead.as_secs_f64(), taken_seconds: self.taken_seconds };
        let window = self.window.get_or_insert(Window { start: now, observations: 0, peak: level });
        window.observations += 1;
        if level.seconds > window.peak.seconds {
            window.peak = level;
        }
        if now.saturating_sub(window.start) >= WINDOW {
            let Window { observations, peak, .. } = *window;
            self.window = None;
            if observations >= LEAST_OBSERVATIONS && self.levels.take(peak, &mut self.clocks) {
                self.decide();
            }
        }
        let most = MOST_SLOPE * elapsed.min(Duration::from_secs(1)).as_secs_f64();
        self.correction += (self.goal - self.correction).clamp(-most, most);
        self.speed()
    }

    /// What is ahead will be another amount from now on: after a seek, a pause, a new connection, or when it ran empty.
    /// Where it settles is what is held then. What is known of the clocks stays.
    pub fn restart(&mut self) {
        self.levels = Levels::default();
        self.clocks.forget_level();
        self.window = None;
        self.calm_levels = 0;
        if self.engaged {
            self.goal = limited(self.clocks.drift);
        }
    }

    /// The speed as it was returned last.
    #[must_use]
    pub fn speed(&self) -> f64 {
        1.0 + self.correction
    }

    /// How much faster than at its own speed the stream is played, in parts in a million. 0 as long as it is exact.
    #[must_use]
    pub fn correction_ppm(&self) -> f64 {
        self.correction * 1e6
    }

    /// Sets the goal by what is known of the clocks now.
    fn decide(&mut self) {
        let Clocks { off_seconds, drift, .. } = self.clocks;
        self.engaged |= self.clocks.is_certain();
        let calm = drift.abs() < LEAST_DRIFT && off_seconds.abs() < LEAST_OFF_SECONDS;
        self.calm_levels = if calm { self.calm_levels + 1 } else { 0 };
        if self.calm_levels >= CALM_LEVELS {
            self.engaged = false;
        }
        self.goal = if self.engaged { limited(drift + PULL * off_seconds) } else { 0.0 };
    }
}

fn limited(correction: f64) -> f64 {
    correction.clamp(-MOST_CORRECTION, MOST_CORRECTION)
}

impl Levels {
    /// Tells `clocks` what the level says; `false` if it says nothing.
    fn take(&mut self, level: Level, clocks: &mut Clocks) -> bool {
        let Some(last) = self.last.replace(level) else { return false };
        let Some(target_seconds) = self.target_seconds else {
            if (level.seconds - last.seconds).abs() < SETTLED_SECONDS {
                self.target_seconds = Some(level.seconds);
            }
            return false;
        };
        let elapsed = level.at.saturating_sub(last.at).as_secs_f64();
        let moved = level.seconds - last.seconds;
        let off = level.seconds - target_seconds;
        if moved.abs() > JUMP_SECONDS.max(6.0 * clocks.scatter_seconds) + 2.0 * MOST_CORRECTION * elapsed {
            self.jumped += 1;
            let rests = (level.seconds - self.jumped_to_seconds).abs() < SETTLED_SECONDS;
            self.jumped_to_seconds = level.seconds;
            if self.jumped >= JUMPED_LEVELS && rests {
                // Here the stream is now, as much off as it was.
                clocks.pass(elapsed, level.taken_seconds - last.taken_seconds);
                self.target_seconds = Some(level.seconds - clocks.off_seconds);
                self.jumped = 0;
            } else {
                self.last = Some(last);
            }
            self.before = None;
            return false;
        }
        self.jumped = 0;
        clocks.pass(elapsed, level.taken_seconds - last.taken_seconds);
        if let Some(before) = self.before.replace(last) {
            // Three levels on a line do not scatter.
            clocks.learn_scatter(level.seconds - 2.0 * last.seconds + before.seconds);
        }
        clocks.see(off);
        true
    }
}

impl Default for Clocks {
    fn default() -> Self {
        let mut clocks = Self {
            off_seconds: 0.0,
            drift: 0.0,
            off_variance: 0.0,
            drift_variance: DRIFT_DEVIATION * DRIFT_DEVIATION,
            covariance: 0.0,
            scatter_seconds: SCATTER_SECONDS,
            scatter_levels: SCATTER_LEVELS,
        };
        clocks.forget_level();
        clocks
    }
}

impl Clocks {
    fn forget_level(&mut self) {
        self.off_seconds = 0.0;
        self.off_variance = self.scatter_seconds * self.scatter_seconds;
        self.covariance = 0.0;
    }

    /// Lets time pass, in which the correction took something of the lead.
    fn pass(&mut self, elapsed: f64, taken_seconds: f64) {
        self.off_seconds += self.drift * elapsed - taken_seconds;
        self.off_variance += elapsed * (2.0 * self.covariance + elapsed * self.drift_variance);
        self.covariance += elapsed * self.drift_variance;
        self.drift_variance += WANDER_DEVIATION * WANDER_DEVIATION;
    }

    /// Weighs how much is off against what was expected.
    fn see(&mut self, off_seconds: f64) {
        let surprise = off_seconds - self.off_seconds;
        let variance = self.off_variance + self.scatter_seconds * self.scatter_seconds;
        let (off_gain, drift_gain) = (self.off_variance / variance, self.covariance / variance);
        self.off_seconds += off_gain * surprise;
        self.drift = limited(self.drift + drift_gain * surprise);
        self.drift_variance -= drift_gain * self.covariance;
        self.covariance -= off_gain * self.covariance;
        self.off_variance -= off_gain * self.off_variance;
    }

    fn learn_scatter(&mut self, bend_seconds: f64) {
        // Of normal scatter, a bend is 0.8 times its own standard deviation on average, and that is √6 of the levels'.
        let scatter = bend_seconds.abs() / (0.8 * 6f64.sqrt());
        self.scatter_levels = (self.scatter_levels + 1.0).min(50.0);
        self.scatter_seconds += (scatter - self.scatter_seconds) / self.scatter_levels;
        self.scatter_seconds = self.scatter_seconds.max(LEAST_SCATTER_SECONDS);
    }

    /// Whether the clocks differ beyond doubt, and it shows.
    fn is_certain(&self) -> bool {
        let is_drift = self.drift.abs() > CERTAIN_DEVIATIONS * self.drift_variance.sqrt();
        let off = self.off_seconds.abs();
        off > MOST_OFF_SECONDS || is_drift && off > LEAST_OFF_SECONDS && self.off_seconds * self.drift > 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As random as a test needs, and every time the same.
    struct Dice(u64);

    impl Dice {
        /// From 0 to 1.
        fn roll(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// A station, the network between, and a listener.
    #[derive(Clone)]
    struct Scene {
        drift: f64,
        hours: f64,
        burst_seconds: f64,
        jitter_seconds: f64,
        /// Times at which nothing arrives for so many seconds, and then all of it at once.
        stalls: Vec<(f64, f64)>,
        /// Audio that is lost on the way, at these times.
        losses: Vec<(f64, f64)>,
        ahead_seconds: f64,
        seed: u64,
    }

    /// What came of it.
    #[derive(Debug)]
    struct Outcome {
        /// When the speed was first something else.
        engaged_at: Option<f64>,
        /// From when on the speed is as the clocks are, within a tenth and 30 parts in a million.
        settled_at: f64,
        /// The most that the speed was beyond the clocks.
        overshoot: f64,
        /// The most that the lead, without bursts, was above and below where it began.
        above: f64,
        below: f64,
        least_lead: f64,
        /// Of the speed, in a second.
        steepest: f64,
        speed: f64,
    }

    impl Scene {
        fn new(ppm: f64) -> Self {
            Self {
                drift: ppm * 1e-6,
                hours: 3.0,
                burst_seconds: 0.25,
                jitter_seconds: 0.1,
                stalls: vec![(4_000.0, 10.0)],
                losses: Vec::new(),
                ahead_seconds: 20.0,
                seed: 0x9e37_79b9_7f4a_7c15,
            }
        }

        fn play(&self, drift: &mut Drift) -> Outcome {
            let mut dice = Dice(self.seed);
            let rate = 1.0 + self.drift;
            let start = drift.last_seen.map_or(0.0, |last| last.as_secs_f64() + 1.0);
            let (mut now, mut arrived, mut played) = (0.0, 0.0, 0.0);
            let mut sent_at = 0.0;
            let mut arrives_at = 0.0;
            let mut speed = drift.speed();
            let mut outcome = Outcome {
                engaged_at: None,
                settled_at: 0.0,
                overshoot: 0.0,
                above: 0.0,
                below: 0.0,
                least_lead: f64::INFINITY,
                steepest: 0.0,
                speed: 1.0,
            };
            while now < self.hours * 3_600.0 {
                let step = 0.1 + 0.4 * dice.roll();
                now += step;
                played += step * speed;
                while arrives_at <= now {
                    arrived = sent_at * rate;
                    sent_at += self.burst_seconds;
                    arrives_at = sent_at + self.jitter_seconds * dice.roll();
                    let stall = self.stalls.iter().find(|(at, long)| (*at..at + long).contains(&arrives_at));
                    arrives_at = stall.map_or(arrives_at, |(at, long)| at + long);
                }
                let lost: f64 = self.losses.iter().filter(|(at, _)| *at <= now).map(|(_, seconds)| seconds).sum();
                let lead = self.ahead_seconds - lost + arrived - played;
                outcome.least_lead = outcome.least_lead.min(lead);
                let seen = Duration::from_secs_f64(lead.max(0.0));
                let next = drift.observe(Duration::from_secs_f64(start + now), seen);
                outcome.steepest = outcome.steepest.max((next - speed).abs() / step);
                speed = next;
                let off = now * rate - played;
                outcome.above = outcome.above.max(off);
                outcome.below = outcome.below.max(-off);
                if speed != 1.0 {
                    outcome.engaged_at = outcome.engaged_at.or(Some(now));
                }
                let beyond = (speed - rate) * self.drift.signum();
                outcome.overshoot = outcome.overshoot.max(beyond);
                if beyond.abs() > self.drift.abs() * 0.1 + 30e-6 {
                    outcome.settled_at = now;
                }
            }
            outcome.speed = speed;
            outcome
        }
    }

    fn show(what: &str, outcome: &Outcome) {
        println!(
            "{what}: engaged {:?} s, settled {:.0} s, overshoot {:.0} ppm, lead +{:.0} -{:.0} ms, steepest {:.1} ppm/s, \
             {:.1} ppm at the end, least lead {:.1} s",
            outcome.engaged_at.map(f64::round),
            outcome.settled_at,
            outcome.overshoot * 1e6,
            outcome.above * 1e3,
            outcome.below * 1e3,
            outcome.steepest * 1e6,
            (outcome.speed - 1.0) * 1e6,
            outcome.least_lead
        );
    }

    #[test]
    fn a_drift_is_held_whatever_the_station_sends_in() {
        for ppm in [20.0, -20.0, 200.0, -200.0, 1_000.0, -1_000.0, 3_000.0, -3_000.0] {
            for (burst_seconds, jitter_seconds) in [(0.025, 0.01), (0.25, 0.2), (1.0, 0.5), (4.0, 0.5)] {
                let hours = if f64::abs(ppm) < 100.0 { 12.0 } else { 3.0 };
                let scene = Scene { burst_seconds, jitter_seconds, hours, ..Scene::new(ppm) };
                let outcome = scene.play(&mut Drift::new());
                let what = format!("{ppm} ppm in {burst_seconds} s");
                show(&what, &outcome);
                assert!(outcome.above.max(outcome.below) < 0.7, "{what}: the lead goes away");
                assert!(outcome.settled_at < 8.0 * 3_600.0, "{what}: does not settle");
                assert!(((outcome.speed - 1.0) * 1e6 - ppm).abs() < 60.0, "{what}: is not found");
                assert!(outcome.steepest < 50.1e-6, "{what}: can be heard");
                assert!(outcome.overshoot < 1_500e-6, "{what}: goes too far");
            }
        }
    }

    #[test]
    fn clocks_that_agree_are_left_alone() {
        for burst_seconds in [0.025, 0.25, 1.0, 2.0, 4.0] {
            for seed in 1..6 {
                let scene = Scene { burst_seconds, hours: 12.0, seed, ..Scene::new(0.0) };
                let outcome = scene.play(&mut Drift::new());
                assert_eq!(outcome.engaged_at, None, "in {burst_seconds} s, {seed}");
                assert_eq!(outcome.speed, 1.0);
            }
        }
    }

    #[test]
    fn a_stall_is_no_drift() {
        // One is longer than a window, and one comes before anything is known.
        let stalls = vec![(15.0, 10.0), (300.0, 3.0), (600.0, 10.0), (1_000.0, 18.0), (5_000.0, 45.0)];
        let quiet = Scene { stalls: stalls.clone(), ahead_seconds: 60.0, ..Scene::new(0.0) };
        assert_eq!(quiet.play(&mut Drift::new()).engaged_at, None);
        // Once a drift is known, the speed hardly moves.
        let mut drift = Drift::new();
        Scene::new(200.0).play(&mut drift);
        let outcome = Scene { stalls, ahead_seconds: 60.0, ..Scene::new(200.0) }.play(&mut drift);
        show("stalls at 200 ppm", &outcome);
        assert!(outcome.overshoot < 40e-6 && outcome.settled_at == 0.0);
    }

    #[test]
    fn what_is_lost_for_good_is_no_drift() {
        let losses = vec![(1_000.0, 2.0), (3_000.0, 7.5), (5_000.0, -3.0)];
        let scene = Scene { losses, ..Scene::new(0.0) };
        assert_eq!(scene.play(&mut Drift::new()).engaged_at, None);
        let losses = vec![(1_000.0, 2.0), (3_000.0, 7.5), (5_000.0, -3.0)];
        let outcome = Scene { losses, ..Scene::new(-200.0) }.play(&mut Drift::new());
        show("losses at -200 ppm", &outcome);
        assert!(outcome.above.max(outcome.below) < 0.2 && outcome.overshoot < 300e-6);
    }

    #[test]
    fn after_a_restart_the_new_lead_is_held_at_the_speed_that_is_known() {
        let mut drift = Drift::new();
        Scene::new(200.0).play(&mut drift);
        drift.restart();
        let outcome = Scene { ahead_seconds: 600.0, stalls: Vec::new(), ..Scene::new(200.0) }.play(&mut drift);
        show("again at 200 ppm", &outcome);
        assert!(outcome.settled_at == 0.0 && outcome.above.max(outcome.below) < 0.2);
        // As long as nothing was certain, a restart leaves it at that.
        let mut quiet = Drift::new();
        Scene { hours: 0.1, ..Scene::new(20.0) }.play(&mut quiet);
        quiet.restart();
        assert_eq!(quiet.speed(), 1.0);
        assert_eq!(quiet.correction_ppm(), 0.0);
    }

    #[test]
    fn a_drift_that_ends_leads_back_to_the_exact_speed() {
        let mut drift = Drift::new();
        Scene::new(200.0).play(&mut drift);
        assert!((drift.correction_ppm() - 200.0).abs() < 20.0);
        let outcome = Scene { hours: 12.0, ..Scene::new(0.0) }.play(&mut drift);
        show("no more drift", &outcome);
        assert_eq!(drift.speed(), 1.0);
    }

    #[test]
    fn a_lead_that_never_settles_is_left_alone() {
        let mut drift = Drift::new();
        // Bursts that are longer than what is looked at.
        let scene = Scene { burst_seconds: 50.0, ahead_seconds: 60.0, ..Scene::new(0.0) };
        assert_eq!(scene.play(&mut drift).engaged_at, None);
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_speed_is_sane(
            seen in proptest::collection::vec((0u64..3_000, prop_oneof![0u64..40_000, 0..u64::MAX]), 0..2_000),
            restart_after in 0usize..2_000,
        ) {
            let mut drift = Drift::new();
            let (mut now, mut before) = (Duration::ZERO, 1.0);
            for (number, (step, lead)) in seen.into_iter().enumerate() {
                now += Duration::from_millis(step);
                let speed = drift.observe(now, Duration::from_millis(lead));
                prop_assert!((0.995..=1.005).contains(&speed));
                prop_assert!(f64::abs(speed - before) <= 50.1e-6);
                before = speed;
                if number == restart_after {
                    drift.restart();
                }
            }
            // Time that goes back is none.
            prop_assert!((0.995..=1.005).contains(&drift.observe(Duration::ZERO, Duration::ZERO)));
        }
    }
}
