//! Libraries that may or may not be installed: found at run time, so that a build needs none of them, and neither does a
//! player without them.

use std::error::Error as _;

use libloading::Library;
use thiserror::Error;

/// Why a library is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// It is not there.
    #[error("{file} is not installed")]
    NotInstalled {
        /// Its name.
        file: &'static str,
    },
    /// It is there, and not what its name promises.
    #[error("{file} cannot be used: {reason}")]
    Unusable {
        /// Its name.
        file: &'static str,
        /// What the system says.
        reason: String,
    },
}

/// A library that stays loaded until the program ends: its threads may run longer than anybody here uses it, and what is
/// found in it may be kept.
#[derive(Debug)]
pub(super) struct SystemLibrary {
    file: &'static str,
    library: &'static Library,
}

impl SystemLibrary {
    /// Loads it.
    pub(super) fn load(file: &'static str) -> Result<Self, LibraryError> {
        // SAFETY: the files asked for are those of JACK and ALSA, by the names under which systems install them; what
        // they run when loaded sets up their own state, as in every program that is linked against them.
        let loaded = unsafe { Library::new(file) };
        match loaded {
            Ok(library) => Ok(Self { file, library: Box::leak(Box::new(library)) }),
            Err(error) => Err(Self::explain(file, &error)),
        }
    }

    /// What the loader says begins with the name of the file that is missing; that may be another one, which this one
    /// needs.
    fn explain(file: &'static str, error: &libloading::Error) -> LibraryError {
        let reason = words(error);
        if reason.starts_with(file) && reason.contains("No such file") {
            LibraryError::NotInstalled { file }
        } else {
            LibraryError::Unusable { file, reason }
        }
    }

    /// A function of the library.
    ///
    /// # Safety
    /// - `T` is the type of a function pointer, with the signature that the library's header gives the function `name`.
    pub(super) unsafe fn function<T: Copy>(&self, name: &str) -> Result<T, LibraryError> {
        debug_assert_eq!(size_of::<T>(), size_of::<fn()>());
        // SAFETY: the caller vouches for the type.
        let found = unsafe { self.library.get::<T>(name.as_bytes()) };
        found
            .map(|function| *function)
            .map_err(|error| LibraryError::Unusable { file: self.file, reason: words(&error) })
    }
}

/// What the loader says; the error itself says only who said it.
fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A struct of a library's functions, and how they are loaded.
macro_rules! functions {
    ($(#[$doc:meta])* $name:ident of $file:literal { $($function:ident: $signature:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        struct $name {
            $($function: $signature,)*
        }

        impl $name {
            fn load() -> Result<Self, $crate::output::library::LibraryError> {
                let library = $crate::output::library::SystemLibrary::load($file)?;
                Ok(Self {
                    // SAFETY: the signatures above were compared with the library's header, one by one.
                    $($function: unsafe { library.function::<$signature>(stringify!($function)) }?,)*
                })
            }
        }
    };
}
pub(super) use functions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_said_not_to_be_installed() {
        let error = SystemLibrary::load("libroundelay-of-nowhere.so.0").unwrap_err();
        assert_eq!(error.to_string(), "libroundelay-of-nowhere.so.0 is not installed");
    }
}
