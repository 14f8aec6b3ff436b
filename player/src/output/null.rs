//! A device that throws the audio away, on time: a real-time thread that is called once a period, as a sound card's
//! thread is, on machines that have no sound card.

use super::realtime::{self, Pacer, Scheduling};
use super::{Session, is_over};

/// Plays until the end, and says how the thread was scheduled.
pub(super) fn play(mut session: Session) -> Scheduling {
    // All that allocates and all that touches new memory comes before the thread is one of real time.
    let mut period = vec![0.0; session.period_frames * session.format.channels];
    realtime::touch_stack();
    let scheduling = realtime::request_real_time();
    let mut pacer = Pacer::new(session.period_frames, session.format.rate_hz);
    while !session.is_stopped() {
        let frames = session.frames_due();
        if frames == 0 {
            break;
        }
        if is_over(session.callback.fill(&mut period[..frames * session.format.channels])) {
            break;
        }
        pacer.wait();
    }
    scheduling
}
