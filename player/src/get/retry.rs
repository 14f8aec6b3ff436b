//! When to try again, and when to give up.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::GetError;
use super::halt::Halt;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A server that asks for more than this is not waited for.
const MOST_PATIENCE: Duration = Duration::from_secs(600);

/// Why an attempt came to nothing, or not to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another try may do; the server may have said when.
    Passing { error: GetError, wait: Option<Duration> },
    /// The server sends the whole file and no part of it.
    NoRanges,
    /// Another try would not do.
    Lasting(GetError),
}

impl Trouble {
    pub(super) fn passing(error: GetError) -> Self {
        Self::Passing { error, wait: None }
    }

    pub(super) fn into_error(self) -> GetError {
        match self {
            Self::Lasting(error) | Self::Passing { error, .. } => error,
            Self::NoRanges => GetError::Panicked,
        }
    }
}

impl<E: Into<GetError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Lasting(error.into())
    }
}

/// The tries of one connection.
#[derive(Debug)]
pub(super) struct Retries {
    most: u32,
    fruitless: u32,
    wait: Duration,
}

impl Retries {
    /// Gives up after `most` fruitless tries.
    pub(super) fn new(most: u32) -> Self {
        Self { most, fruitless: 0, wait: FIRST_WAIT }
    }

    /// Bytes came: whatever was wrong has passed.
    pub(super) fn progress(&mut self) {
        *self = Self::new(self.most);
    }

    /// A try failed. Waits for the time of the next one.
    ///
    /// # Errors
    /// The trouble, if it is a lasting one or lasts too long; `Interrupted` if it was halted meanwhile.
    pub(super) fn wait(&mut self, trouble: Trouble, halt: &Halt) -> Result<(), Trouble> {
        if halt.is_halted() {
            return Err(GetError::interrupted().into());
        }
        let Trouble::Passing { error, wait } = trouble else { return Err(trouble) };
        self.fruitless += 1;
        if self.fruitless >= self.most {
            return Err(GetError::GaveUp { tries: self.fruitless, last: Box::new(error) }.into());
        }
        let wait = match wait {
            Some(wait) if wait > MOST_PATIENCE => {
                return Err(GetError::ComeBackLater { wait, last: Box::new(error) }.into());
            }
            // A server that asks for no wait at all is not to be asked many times in a moment.
            wait => self.next_wait().max(wait.unwrap_or_default()),
        };
        if halt.sleep(wait) { Ok(()) } else { Err(GetError::interrupted().into()) }
    }

    fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        // Up to a quarter more, so that connections that were cut together do not all call again together.
        wait + wait.mul_f64(0.25 * random())
    }
}

/// Between nought and one.
fn random() -> f64 {
    // Each of these hashes with keys of its own.
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use ureq::Agent;

    use super::*;

    fn cut() -> Trouble {
        let reason = std::io::ErrorKind::ConnectionReset.into();
        Trouble::passing(GetError::Cut { url: "http://example.org/".into(), reason })
    }

    #[test]
    fn waits_double_up_to_five_seconds_with_a_little_jitter() {
        let mut retries = Retries::new(99);
        for least in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let wait = retries.next_wait().as_millis();
            assert!((least..=least * 5 / 4).contains(&wait), "{wait} ms in place of {least}");
        }
        retries.progress();
        assert!(retries.next_wait() < Duration::from_millis(126));
    }

    #[test]
    fn fruitless_tries_come_to_an_end() {
        let halt = Halt::new([Agent::new_with_defaults()]);
        let mut retries = Retries::new(2);
        retries.wait(cut(), &halt).unwrap();
        let error = retries.wait(cut(), &halt).unwrap_err();
        assert!(matches!(error, Trouble::Lasting(GetError::GaveUp { tries: 2, .. })), "{error:?}");
    }

    #[test]
    fn what_another_try_would_not_change_is_not_tried_again() {
        let halt = Halt::new([Agent::new_with_defaults()]);
        let lasting = Trouble::Lasting(GetError::Panicked);
        assert!(matches!(Retries::new(9).wait(lasting, &halt), Err(Trouble::Lasting(GetError::Panicked))));
        let later = Trouble::Passing { error: GetError::Panicked, wait: Some(Duration::from_secs(86_400)) };
        let error = Retries::new(9).wait(later, &halt).unwrap_err();
        assert!(matches!(error, Trouble::Lasting(GetError::ComeBackLater { .. })), "{error:?}");
        halt.halt();
        let error = Retries::new(9).wait(cut(), &halt).unwrap_err();
        assert!(matches!(error, Trouble::Lasting(GetError::Interrupted { .. })), "{error:?}");
    }
}
