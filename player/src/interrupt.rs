//! What ends the program from outside: Ctrl-C, a terminal that is closed, and whoever asks it to terminate.

/// Calls `interrupted`, on a thread of its own, each time that the program is asked to end.
///
/// A signal that was ignored when the program began stays ignored. `nohup` asks for that, and so do shells without job
/// control for what runs in the background.
///
/// # Errors
/// If the system does not allow that, or it was done before.
pub fn on_interrupt(interrupted: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    #[cfg(unix)]
    let ignored: Vec<_> = unix::ENDING.into_iter().filter(|&signal| unix::is_ignored(signal)).collect();
    ctrlc::set_handler(interrupted)?;
    #[cfg(unix)]
    ignored.into_iter().for_each(unix::ignore);
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::ptr;

    /// The signals that `ctrlc` handles.
    pub(super) const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

    pub(super) fn is_ignored(signal: libc::c_int) -> bool {
        // SAFETY: `sigaction` is a struct of the C library for which all zeros are a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: with a null pointer in place of a new action, the call only writes to `action`, which outlives it.
        let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        result == 0 && action.sa_sigaction == libc::SIG_IGN
    }

    pub(super) fn ignore(signal: libc::c_int) {
        // SAFETY: ignoring a signal runs no code of this program. `ENDING` has signals only that can be ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
