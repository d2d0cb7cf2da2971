//! What the attribute `memoize` calls: keys, and values that must survive a cache that fails.
//!
//! The attribute (crate `firncache-macros`) writes code into the user's functions. What that code
//! needs beyond the public operations of a cache is here, so that it is compiled, documented and
//! tested like the rest. Public only for that code.
//!
//! A function that cannot report an error has to have its result whatever happens to the cache:
//!
//! ```text
//!               get_or_set_with                      Computing
//! found         gives the value                      was never run
//! computed      runs it, stores, gives the value     holds the value, too, until the end
//! not kept      runs it, is told an error            holds the value
//! storing fails runs it, gives the error             holds the value
//! locked out    gives the error                      is run at the end
//! ```

use std::any::type_name;
use std::cell::Cell;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::format::key::Key;
use crate::format::key_buf::{KeyBuf, ToKey};

/// Names a function by the type of a closure in it: its path, with the types it is generic over.
#[must_use]
pub fn memoize_name<F>(_: &F) -> &'static str {
    let mut name = type_name::<F>();
    while let Some(outer) = name.strip_suffix("::{{closure}}") {
        name = outer;
    }
    name
}

/// Makes the key of one call.
///
/// # Errors
///
/// [`ErrorKind::Key`] for what cannot be a key.
pub fn memoize_key(name: &str, arguments: &impl ToKey) -> Result<Key> {
    Key::decode(KeyBuf::of(&(name, arguments))?.as_bytes())
}

/// Gives back the reference: where the compiler finds out whether an argument can be in a key.
pub fn memoize_part<K: ToKey + ?Sized>(part: &K) -> &K {
    part
}

/// Why nothing was stored.
#[derive(Debug)]
pub enum Unkept<V, E> {
    /// The value is not to be kept.
    Value(V),
    /// There is none.
    Failed(E),
}

impl<V, E: From<Error>> From<Error> for Unkept<V, E> {
    fn from(error: Error) -> Unkept<V, E> {
        Unkept::Failed(error.into())
    }
}

impl<V, E> Unkept<V, E> {
    /// Makes an error of everything but a value that is to be kept.
    ///
    /// # Errors
    ///
    /// What is not to be stored.
    pub fn unless(result: Result<V, E>, keep: impl FnOnce(&V) -> bool) -> Result<V, Unkept<V, E>> {
        match result {
            Ok(value) if keep(&value) => Ok(value),
            Ok(value) => Err(Unkept::Value(value)),
            Err(error) => Err(Unkept::Failed(error)),
        }
    }

    /// Gives the result that [`Unkept::unless`] was given.
    ///
    /// # Errors
    ///
    /// The function's own.
    pub fn into_result(self) -> Result<V, E> {
        match self {
            Unkept::Value(value) => Ok(value),
            Unkept::Failed(error) => Err(error),
        }
    }
}

/// A value on its way through the cache, stored as if it were alone.
#[derive(Debug)]
pub struct Kept<V>(Rc<V>);

impl<V: Serialize> Serialize for Kept<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Kept<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept<V>, D::Error> {
        V::deserialize(deserializer).map(|value| Kept(Rc::new(value)))
    }
}

/// A function that is called once at most, and its result.
pub struct Computing<V, F> {
    function: Cell<Option<F>>,
    computed: Cell<Option<Rc<V>>>,
}

impl<V, F: FnOnce() -> V> Computing<V, F> {
    /// Begins with the function not called.
    pub fn new(function: F) -> Computing<V, F> {
        Computing { function: Cell::new(Some(function)), computed: Cell::new(None) }
    }

    /// Calls the function, for the cache to store the result.
    ///
    /// # Errors
    ///
    /// One that nobody sees, if the value is not to be kept.
    pub fn run(&self, keep: impl FnOnce(&V) -> bool) -> Result<Kept<V>> {
        let Some(function) = self.function.take() else {
            return Err(Error::new(ErrorKind::Unsupported, "a function computes once"));
        };
        let value = Rc::new(function());
        self.computed.set(Some(value.clone()));
        if keep(&value) {
            return Ok(Kept(value));
        }
        Err(Error::new(ErrorKind::Unsupported, "the value is not to be kept"))
    }

    /// Gives the value: from the cache, as it was computed, or computed now.
    pub fn finish(self, found: Result<Kept<V>>) -> V {
        let computed = self.computed.take();
        let value = match (found, computed) {
            // The one that was computed goes first, so that this is the only one.
            (Ok(Kept(value)), computed) => {
                drop(computed);
                Some(value)
            }
            (Err(_), computed) => computed,
        };
        match (value.and_then(Rc::into_inner), self.function.into_inner()) {
            (Some(value), _) => value,
            (None, Some(function)) => function(),
            (None, None) => unreachable!("a value that was computed has one owner at the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<V>() -> Result<V> {
        Err(Error::codec("no"))
    }

    /// What `Computing` gives, and how often it computed, when the cache does `what`.
    fn outcome(
        keep: bool,
        what: impl FnOnce(&dyn Fn() -> Result<Kept<u8>>) -> Result<Kept<u8>>,
    ) -> (u8, u32) {
        let count = Cell::new(0);
        let computing = Computing::new(|| {
            count.set(count.get() + 1);
            7
        });
        let found = what(&|| computing.run(|_| keep));
        (computing.finish(found), count.get())
    }

    #[test]
    fn a_value_is_computed_once_whatever_the_cache_does() {
        assert_eq!(outcome(true, |_| Ok(Kept(Rc::new(3)))), (3, 0));
        assert_eq!(outcome(true, |run| run()), (7, 1));
        assert_eq!(outcome(false, |run| run()), (7, 1));
        assert_eq!(outcome(true, |run| run().and_then(|_| error())), (7, 1));
        assert_eq!(outcome(true, |_| error()), (7, 1));
        assert_eq!(outcome(true, |run| run().map(|_| Kept(Rc::new(4)))), (4, 1));
        assert_eq!(outcome(true, |run| run().and_then(|kept| run().or(Ok(kept)))), (7, 1));
    }

    #[test]
    fn a_value_is_stored_as_if_it_were_alone() {
        let cache = crate::Cache::temporary().unwrap();
        cache.set("it", &Kept(Rc::new("text"))).unwrap();
        assert_eq!(cache.get("it").unwrap(), Some(String::from("text")));
        assert_eq!(*cache.get::<Kept<String>>("it").unwrap().unwrap().0, "text");
    }

    #[test]
    fn names_tell_types_apart() {
        struct One<T>(T);
        struct Other;
        impl<T> One<T> {
            fn name(&self) -> &'static str {
                let _ = &self.0;
                let inside = || memoize_name(&|| ());
                inside()
            }
        }
        impl Other {
            fn name() -> &'static str {
                memoize_name(&|| ())
            }
        }
        let names = [One(1_u8).name(), One("text").name(), Other::name()];
        assert!(names[0].ends_with("::names_tell_types_apart::One<u8>::name"), "{}", names[0]);
        assert!(names[1].ends_with("One<&str>::name"), "{}", names[1]);
        assert!(names[2].ends_with("Other::name"), "{}", names[2]);
    }

    #[test]
    fn keys_hold_name_and_arguments() {
        let key = memoize_key("f", &(1, "x")).unwrap();
        assert_eq!(key, Key::from(("f", (1, "x"))));
        assert_eq!(memoize_key("f", &()).unwrap(), Key::from(("f", ())));
        assert_eq!(memoize_key("f", &f64::NAN).unwrap_err().kind(), ErrorKind::Key);
    }

    #[test]
    fn unkept_values_and_errors_come_through() {
        type Both = Unkept<u8, String>;
        let through = |result: Result<u8, String>, keep| {
            Both::unless(result, |_| keep).map_err(Unkept::into_result)
        };
        assert_eq!(through(Ok(1), true), Ok(1));
        assert_eq!(through(Ok(1), false), Err(Ok(1)));
        assert_eq!(through(Err("no".into()), true), Err(Err("no".into())));
    }
}
