//! Redirects, followed as browsers follow them: with the cookies that were set on the way, and to addresses that are
//! written in any way that [`Address`] reads.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cookie_store::CookieStore;
use thiserror::Error;
use ureq::http::header::{AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE};
use ureq::http::{HeaderValue, Response, StatusCode};
use ureq::{Body, RequestBuilder};

use crate::address::{Address, AddressError};

/// As many as browsers follow.
const MAX_REDIRECTS: usize = 20;

/// Why an answer was not reached.
#[derive(Debug, Error)]
pub(crate) enum FollowError {
    /// The request itself.
    #[error(transparent)]
    Ask(#[from] ureq::Error),
    /// A redirect to another redirect, and so on.
    #[error("it redirects more than {MAX_REDIRECTS} times, perhaps in a circle")]
    Circle,
    /// A redirect to something that cannot be asked.
    #[error("it redirects to where nothing can be asked: {0}")]
    Nowhere(#[from] AddressError),
}

/// What servers have set, for as long as this program runs. Clones are one and the same.
#[derive(Clone, Default)]
pub(crate) struct Cookies(Arc<Mutex<CookieStore>>);

impl Cookies {
    fn store(&self) -> MutexGuard<'_, CookieStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, response: &Response<Body>, address: &Address) {
        for value in response.headers().get_all(SET_COOKIE) {
            // One that cannot be read, or is meant for another server, is passed over.
            let _ = value.to_str().map(|text| self.store().parse(text, address.url()).map(drop));
        }
    }

    fn value(&self, address: &Address) -> Option<HeaderValue> {
        let store = self.store();
        let pairs: Vec<_> =
            store.get_request_values(address.url()).map(|(name, value)| format!("{name}={value}")).collect();
        let mut value = HeaderValue::from_str(&pairs.join("; ")).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

/// Asks at `address`, and wherever the answers redirect to. Returns the last answer, and the address that it is from.
///
/// `ask` sends one request, for the address that it is given, [`personal`] to `cookies`. It must not follow redirects itself.
pub(crate) fn follow(
    address: &Address,
    cookies: &Cookies,
    mut ask: impl FnMut(&Address) -> Result<Response<Body>, ureq::Error>,
) -> Result<(Address, Response<Body>), FollowError> {
    let mut address = address.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(&address)?;
        cookies.take(&response, &address);
        let location = response.headers().get(LOCATION).filter(|_| is_redirect(response.status()));
        match location {
            Some(location) => address = address.join(location.as_bytes())?,
            None => return Ok((address, response)),
        }
    }
    Err(FollowError::Circle)
}

pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Adds what the server at `address` knows the listener by, if anything: the credentials in the address, and its cookies.
pub(crate) fn personal<B: fmt::Debug>(
    mut request: RequestBuilder<B>,
    address: &Address,
    cookies: &Cookies,
) -> RequestBuilder<B> {
    if let Some(value) = address.authorization() {
        request = request.header(AUTHORIZATION, value);
    }
    if let Some(value) = cookies.value(address) {
        request = request.header(COOKIE, value);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cookies: &[&str]) -> Response<Body> {
        let mut response = Response::new(Body::builder().data(""));
        for cookie in cookies {
            response.headers_mut().append(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        response
    }

    fn sent(cookies: &Cookies, address: &str) -> Option<String> {
        cookies.value(&Address::read(address).unwrap()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn cookies_go_back_to_where_they_came_from() {
        let cookies = Cookies::default();
        let here = Address::read("http://a.example/x").unwrap();
        cookies
            .take(&answer(&["one=a, \"b\" c; Path=/", "nothing", "evil=1; Domain=b.example", "safe=1; Secure"]), &here);
        assert_eq!(sent(&cookies, "http://a.example/y").as_deref(), Some("one=a, \"b\" c"));
        for elsewhere in ["http://b.example/", "http://aa.example/", "http://b.a.example/"] {
            assert_eq!(sent(&cookies, elsewhere), None);
        }
        cookies.take(&answer(&["one=gone; Path=/; Max-Age=0"]), &here);
        assert_eq!(sent(&cookies, "http://a.example/y"), None);
    }
}
