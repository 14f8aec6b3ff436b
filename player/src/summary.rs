//! What a run came to: a line of JSON for programs, four lines of text for people.

use std::fmt;

use serde::Serialize;

/// The figures of a finished run, in the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Seconds of audio that went to the output.
    pub seconds_played: f64,
    /// Calls of the callback that found fewer frames than they wanted.
    pub underruns: u64,
    /// Frames of silence that were played in place of missing ones.
    pub frames_missing: u64,
    /// Times that playing paused for want of audio.
    pub rebuffers: u64,
    /// Frames of silence that were played meanwhile.
    pub rebuffer_frames: u64,
    /// Seconds from the start of the program to the first frame of audio.
    pub first_sound_seconds: Option<f64>,
    /// Times that the listener went elsewhere.
    pub seeks: u64,
    /// Packets that could not be decoded, and stretches without any.
    pub broken: u64,
    /// What was passed over: entries of a list, and parts of a stream that are not supported, damaged or missing.
    pub skipped: u64,
    /// How much faster than it says the stream was played at the end, in millionths, to keep up with the station's clock.
    pub drift_ppm: i64,
    /// What was decoded.
    pub codec: Option<String>,
    /// Times that the connection to the station was made again.
    pub reconnects: u64,
    /// Times that the decoder was overtaken by the network and lost bytes.
    pub laps: u64,
    /// Bytes of audio received.
    pub bytes_in: u64,
    /// Bytes that the window can hold.
    pub window_capacity: u64,
    /// Bytes that it held at the end.
    pub window_bytes: u64,
    /// The output, as it was asked for.
    pub output: String,
    /// What the output's device counted, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceFigures>,
    /// How the thread that called back was scheduled.
    pub scheduling: String,
    /// Calls of the callback.
    pub callbacks: u64,
    /// How long they took, in nanoseconds.
    pub callback_ns: CallbackNs,
}

/// What a device is, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceFigures {
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a period.
    pub period_frames: u64,
    /// Times that the device, or its server, ran out of time.
    pub xruns: u64,
    /// Times that it went away.
    pub stops: u64,
}

/// How long the callback took: half of the calls at most `p50` nanoseconds, 99 % at most `p99`, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallbackNs {
    /// The median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Summary {
    /// One line of JSON.
    ///
    /// # Errors
    /// None in practice: there is nothing in it that JSON cannot say.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Summary {
    /// This, and then another programme: what adds up is added up, and what does not is that of the last.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        if self.callbacks == 0 {
            return Self { broken: self.broken + next.broken, skipped: self.skipped + next.skipped, ..next };
        }
        let longer = if self.callback_ns.max > next.callback_ns.max { self.callback_ns } else { next.callback_ns };
        Self {
            // Of milliseconds, as each of the two.
            seconds_played: ((self.seconds_played + next.seconds_played) * 1e3).round() / 1e3,
            underruns: self.underruns + next.underruns,
            frames_missing: self.frames_missing + next.frames_missing,
            rebuffers: self.rebuffers + next.rebuffers,
            rebuffer_frames: self.rebuffer_frames + next.rebuffer_frames,
            first_sound_seconds: self.first_sound_seconds.or(next.first_sound_seconds),
            seeks: self.seeks + next.seeks,
            broken: self.broken + next.broken,
            skipped: self.skipped + next.skipped,
            reconnects: self.reconnects + next.reconnects,
            laps: self.laps + next.laps,
            bytes_in: self.bytes_in + next.bytes_in,
            codec: next.codec.or(self.codec),
            callbacks: self.callbacks + next.callbacks,
            callback_ns: longer,
            ..next
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "played {:.1} s to {}: {}, {} frames missing, {}, {}, {}",
            self.seconds_played,
            self.output,
            count(self.underruns, "underrun"),
            self.frames_missing,
            count(self.rebuffers, "pause"),
            count(self.reconnects, "reconnect"),
            count(self.laps, "lap"),
        )?;
        writeln!(
            f,
            "received {} KiB; the window held {} of {} KiB",
            self.bytes_in >> 10,
            self.window_bytes >> 10,
            self.window_capacity >> 10
        )?;
        if let Some(codec) = &self.codec {
            let first =
                self.first_sound_seconds.map_or_else(String::new, |first| format!(", first heard after {first:.2} s"));
            writeln!(f, "{codec}{first}, {} broken, clock {:+} ppm", count(self.broken, "packet"), self.drift_ppm)?;
        }
        if self.skipped > 0 {
            writeln!(f, "{} passed over", count(self.skipped, "part"))?;
        }
        if let Some(DeviceFigures { rate_hz, period_frames, xruns, stops }) = self.device {
            let (xruns, stops) = (count(xruns, "xrun"), count(stops, "stop"));
            writeln!(f, "device: {rate_hz} Hz, periods of {period_frames} frames, {xruns}, {stops}")?;
        }
        let CallbackNs { p50, p99, p999, max } = self.callback_ns;
        write!(
            f,
            "callback: {} calls, {} p50, {} p99, {} p99.9, {} at worst\nscheduling: {}",
            self.callbacks,
            Micros(p50),
            Micros(p99),
            Micros(p999),
            Micros(max),
            self.scheduling
        )
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Nanoseconds, shown in microseconds with as many digits as matter.
#[derive(Clone, Copy, Debug)]
pub struct Micros(
    /// Nanoseconds.
    pub u64,
);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 as f64 / 1e3;
        let decimals = if micros < 10.0 { 1 } else { 0 };
        write!(f, "{micros:.decimals$} µs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            seconds_played: 20.0,
            underruns: 1,
            frames_missing: 12,
            rebuffers: 0,
            rebuffer_frames: 0,
            first_sound_seconds: Some(0.25),
            seeks: 0,
            broken: 0,
            skipped: 2,
            drift_ppm: -12,
            codec: Some("FLAC, 48 kHz, stereo".into()),
            reconnects: 0,
            laps: 0,
            bytes_in: 1 << 21,
            window_capacity: 1 << 20,
            window_bytes: 1 << 19,
            output: "null".into(),
            device: None,
            scheduling: "SCHED_FIFO 65".into(),
            callbacks: 3750,
            callback_ns: CallbackNs { p50: 420, p99: 1_900, p999: 12_345, max: 99_999 },
        }
    }

    #[test]
    fn the_json_is_one_line_with_every_figure_by_its_name() {
        let json = summary().to_json().unwrap();
        assert!(!json.contains('\n'));
        assert_eq!(
            json,
            r#"{"seconds_played":20.0,"underruns":1,"frames_missing":12,"rebuffers":0,"rebuffer_frames":0,"first_sound_seconds":0.25,"seeks":0,"broken":0,"skipped":2,"drift_ppm":-12,"codec":"FLAC, 48 kHz, stereo","reconnects":0,"laps":0,"bytes_in":2097152,"window_capacity":1048576,"window_bytes":524288,"output":"null","scheduling":"SCHED_FIFO 65","callbacks":3750,"callback_ns":{"p50":420,"p99":1900,"p999":12345,"max":99999}}"#
        );
    }

    #[test]
    fn the_text_says_the_same() {
        assert_eq!(
            summary().to_string(),
            "played 20.0 s to null: 1 underrun, 12 frames missing, 0 pauses, 0 reconnects, 0 laps\n\
             received 2048 KiB; the window held 512 of 1024 KiB\n\
             FLAC, 48 kHz, stereo, first heard after 0.25 s, 0 packets broken, clock -12 ppm\n\
             2 parts passed over\n\
             callback: 3750 calls, 0.4 µs p50, 1.9 µs p99, 12 µs p99.9, 100 µs at worst\n\
             scheduling: SCHED_FIFO 65"
        );
    }

    #[test]
    fn an_output_with_a_device_says_more() {
        let device = Some(DeviceFigures { rate_hz: 48_000, period_frames: 64, xruns: 1, stops: 0 });
        let summary = Summary { device, ..summary() };
        assert!(summary.to_string().contains("\ndevice: 48000 Hz, periods of 64 frames, 1 xrun, 0 stops\ncallback: "));
        let json = r#""device":{"rate_hz":48000,"period_frames":64,"xruns":1,"stops":0}"#;
        assert!(summary.to_json().unwrap().contains(json));
    }
}
