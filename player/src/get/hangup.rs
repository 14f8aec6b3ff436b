//! Tells a connection that was ended from one that was cut.
//!
//! A body without a length ends where the server closes the connection. ureq takes a reset, and a TLS connection that
//! breaks off, for such an end; half a file would be taken for the whole. So these two are given another kind of error
//! on their way up, which ureq passes on as the failure that it is.

use std::io::{self, ErrorKind};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// The last link of a chain of connectors.
#[derive(Debug)]
pub(super) struct TellsCutsFromEnds;

impl<T: Transport> Connector<T> for TellsCutsFromEnds {
    type Out = Watched<T>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<T>) -> Result<Option<Watched<T>>, Error> {
        Ok(chained.map(Watched))
    }
}

/// A connection that does not pass a cut off as an end.
#[derive(Debug)]
pub(super) struct Watched<T>(T);

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout).map_err(|error| match error {
            Error::Io(error) if is_cut(error.kind()) => Error::Io(io::Error::new(ErrorKind::BrokenPipe, error)),
            error => error,
        })
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

fn is_cut(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}
