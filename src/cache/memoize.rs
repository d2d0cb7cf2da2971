//! Functions whose results are kept.
//!
//! A result is an ordinary item of the cache. Its key is a tuple, so that nothing else has it:
//!
//! ```text
//! (name, arguments)              arguments: the bytes that `arguments` makes of them
//! (name, 0xFF digest)            where those are long: a digest of 256 bits by this store's key
//! (name, .., "early")            results that are computed anew before they expire
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::arguments;
use crate::cache::entry::SetOptions;
use crate::cache::read::with_scratch;
use crate::error::{Error, Result};
use crate::format::key::Key;
use crate::format::key_buf::{KeyBuf, ToKey};

/// Longer arguments are replaced by their digest.
const MAX_ARGUMENT_BYTES: usize = 1024;
/// What a digest begins with, and arguments never do.
const DIGEST: u8 = 0xFF;
/// What marks results that are kept together with the time that computing them took.
const EARLY: &str = "early";

type Condition<V> = dyn Fn(&V) -> bool + Send + Sync;

/// How results of a memoized function are kept; see [`Cache::memoize`].
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, MemoizeOptions};
///
/// let cache = Cache::temporary()?;
/// let options = MemoizeOptions::new()
///     .expire(Duration::from_secs(60))
///     .tag("lookups")
///     .cache_if(|found: &Option<u32>| found.is_some());
/// let lookup = cache.memoize("lookup", options, |name: &str| name.find('x').map(|at| at as u32));
/// assert_eq!(lookup.call("abc")?, None); // not kept
/// assert_eq!(lookup.call("xyz")?, Some(0)); // kept, for a minute
/// assert_eq!(cache.len()?, 1);
/// # Ok::<(), firncache::Error>(())
/// ```
#[must_use = "options do nothing until they are used"]
pub struct MemoizeOptions<V> {
    set: SetOptions,
    condition: Option<Arc<Condition<V>>>,
}

impl<V> MemoizeOptions<V> {
    /// Makes options by which every result is kept and never expires.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let square = cache.memoize("square", firncache::MemoizeOptions::new(), |n: &u32| n * n);
    /// assert_eq!(square.call(&3)?, 9);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn new() -> MemoizeOptions<V> {
        MemoizeOptions { set: SetOptions::new(), condition: None }
    }

    /// Lets results expire when this time has passed since they were stored. Zero is at once; what
    /// is too long to represent is never.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::MemoizeOptions;
    /// let options = MemoizeOptions::new().expire(std::time::Duration::from_secs(60));
    /// assert_eq!(cache.memoize("half", options, |n: &f64| n / 2.0).call(&3.0)?, 1.5);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire(mut self, after: Duration) -> MemoizeOptions<V> {
        self.set = self.set.expire(after);
        self
    }

    /// Labels results, so that [`Cache::evict`] finds them. What cannot be a tag fails the first
    /// call whose result is to be kept.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::MemoizeOptions;
    /// let half = cache.memoize("half", MemoizeOptions::new().tag("maths"), |n: &f64| n / 2.0);
    /// half.call(&3.0)?;
    /// assert_eq!(cache.evict("maths")?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn tag(mut self, tag: impl ToKey) -> MemoizeOptions<V> {
        self.set = self.set.tag(tag);
        self
    }

    /// Keeps only the results for which this is true. Callers that wait for one that is then not
    /// kept compute their own, one after the other.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::MemoizeOptions;
    /// let options = MemoizeOptions::new().cache_if(|length: &usize| *length > 3);
    /// let length = cache.memoize("length", options, |text: &str| text.len());
    /// assert_eq!((length.call("abc")?, length.call("abcd")?), (3, 4));
    /// assert_eq!(cache.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn cache_if(
        mut self,
        condition: impl Fn(&V) -> bool + Send + Sync + 'static,
    ) -> MemoizeOptions<V> {
        self.condition = Some(Arc::new(condition));
        self
    }
}

impl<V> Default for MemoizeOptions<V> {
    fn default() -> MemoizeOptions<V> {
        MemoizeOptions::new()
    }
}

impl<V> Clone for MemoizeOptions<V> {
    fn clone(&self) -> MemoizeOptions<V> {
        MemoizeOptions { set: self.set.clone(), condition: self.condition.clone() }
    }
}

impl<V> fmt::Debug for MemoizeOptions<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoizeOptions")
            .field("set", &self.set)
            .field("cache_if", &self.condition.is_some())
            .finish()
    }
}

/// Where results are kept: in one cache, or in the shard that is a key's.
pub(crate) trait Place: Send + Sync {
    /// The cache of an encoded key.
    fn cache_of(&self, key: &[u8]) -> &Cache;
    /// The cache whose key makes digests.
    fn first(&self) -> &Cache;
    /// Something was stored.
    fn has_stored(&self);
}

impl Place for Cache {
    #[inline]
    fn cache_of(&self, _: &[u8]) -> &Cache {
        self
    }

    fn first(&self) -> &Cache {
        self
    }

    fn has_stored(&self) {}
}

/// A function whose results are kept in a cache; made by [`Cache::memoize`],
/// [`FanoutCache::memoize`](crate::FanoutCache::memoize) or
/// [`recipes::memoize_stampede`](crate::recipes::memoize_stampede).
///
/// Cheap to clone, and shared by threads; other processes share the results, as long as they use
/// the same name for the same function.
///
/// ```
/// use firncache::{Cache, Memoized, MemoizeOptions};
///
/// let cache = Cache::temporary()?;
/// let area: Memoized<(u32, u32), u32> =
///     cache.memoize("area", MemoizeOptions::new(), |(width, height)| width * height);
/// assert_eq!(area.call(&(3, 4))?, 12);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct Memoized<A: ?Sized, V> {
    place: Arc<dyn Place>,
    name: Arc<str>,
    options: MemoizeOptions<V>,
    /// How eagerly results are computed before they expire.
    beta: Option<f64>,
    function: Arc<dyn Fn(&A) -> V + Send + Sync>,
}

impl Cache {
    /// Makes a function of which each result is computed once at a time, across threads and
    /// processes, and kept; as [`Cache::get_or_set_with`] does.
    ///
    /// The name stands for the function: use another one when the function changes its meaning.
    /// Different names never share results.
    ///
    /// ```
    /// use firncache::{Cache, MemoizeOptions};
    ///
    /// let cache = Cache::temporary()?;
    /// let words = cache.memoize("words", MemoizeOptions::new(), |text: &str| {
    ///     text.split_whitespace().count()
    /// });
    /// assert_eq!(words.call("to be or not to be")?, 6);
    /// assert_eq!(words.call("to be or not to be")?, 6); // not computed again
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn memoize<A, V>(
        &self,
        name: &str,
        options: MemoizeOptions<V>,
        function: impl Fn(&A) -> V + Send + Sync + 'static,
    ) -> Memoized<A, V>
    where
        A: Serialize + ?Sized,
        V: Serialize + DeserializeOwned,
    {
        Memoized::new(self.clone(), name, options, Arc::new(function))
    }
}

impl<A, V> Memoized<A, V>
where
    A: Serialize + ?Sized,
    V: Serialize + DeserializeOwned,
{
    /// As [`Cache::memoize`], wherever the results are kept.
    pub(crate) fn new(
        place: impl Place + 'static,
        name: &str,
        options: MemoizeOptions<V>,
        function: Arc<dyn Fn(&A) -> V + Send + Sync>,
    ) -> Memoized<A, V> {
        Memoized { place: Arc::new(place), name: name.into(), options, beta: None, function }
    }

    /// As [`Cache::memoize`], with results that are computed anew before they expire.
    pub(crate) fn early(
        cache: &Cache,
        name: &str,
        expire: Duration,
        beta: f64,
        function: Arc<dyn Fn(&A) -> V + Send + Sync>,
    ) -> Memoized<A, V> {
        let options = MemoizeOptions::new().expire(expire);
        Memoized { beta: Some(beta), ..Memoized::new(cache.clone(), name, options, function) }
    }

    /// Gives the result for these arguments, computing it if it is not there.
    ///
    /// Costs a read and the encoding of the arguments when it is there. Otherwise one caller
    /// computes, and those that want the same result sleep until it is there.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_or_set_with`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) for arguments
    /// that cannot be encoded, and for results that were kept as another type.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let cube = cache.memoize("cube", Default::default(), |n: &i64| n * n * n);
    /// assert_eq!(cube.call(&-2)?, -8);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn call(&self, arguments: &A) -> Result<V> {
        let key = self.encoded_key(arguments)?;
        let (key, options) = (key.as_bytes(), &self.options.set);
        let cache = self.place.cache_of(key);
        let compute = || (self.function)(arguments);
        if let Some(beta) = self.beta {
            return cache.get_or_compute_early(key, options, beta, compute);
        }
        if let Some(value) = with_scratch(|buffer| cache.get_encoded(key, buffer))? {
            return Ok(value);
        }
        let is_kept = |value: &V| self.options.condition.as_ref().is_none_or(|is| is(value));
        let value = cache.compute_once(key, options, is_kept, || Ok::<_, Error>(compute()))?;
        self.place.has_stored();
        Ok(value)
    }

    /// Gives the key under which the result for these arguments is kept.
    ///
    /// Equal arguments have equal keys. Maps count as equal whatever their order; of sets the order
    /// counts, so use sorted ones. Arguments that take more than a kilobyte are replaced by a
    /// digest that is the cache's own: other directories then have other keys.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for arguments that cannot be encoded;
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for a name that is too long.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let cube = cache.memoize("cube", Default::default(), |n: &i64| n * n * n);
    /// cube.call(&2)?;
    /// assert!(cache.contains(cube.key(&2)?)? && !cache.contains(cube.key(&3)?)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn key(&self, arguments: &A) -> Result<Key> {
        Key::decode(self.encoded_key(arguments)?.as_bytes())
    }

    /// Forgets the result for these arguments; false if there was none. One that is being computed
    /// meanwhile is stored all the same.
    ///
    /// # Errors
    ///
    /// As [`Memoized::key`] and [`Cache::delete`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let cube = cache.memoize("cube", Default::default(), |n: &i64| n * n * n);
    /// cube.call(&2)?;
    /// assert!(cube.invalidate(&2)? && !cube.invalidate(&2)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn invalidate(&self, arguments: &A) -> Result<bool> {
        let key = self.encoded_key(arguments)?;
        self.place.cache_of(key.as_bytes()).delete(Key::decode(key.as_bytes())?)
    }

    fn encoded_key(&self, arguments: &A) -> Result<KeyBuf> {
        with_scratch(|bytes| {
            arguments::encode(arguments, bytes)?;
            if bytes.len() > MAX_ARGUMENT_BYTES {
                let digest = self.place.first().0.store.digest(bytes);
                bytes.clear();
                bytes.push(DIGEST);
                bytes.extend_from_slice(&digest);
            }
            let (name, bytes) = (&*self.name, bytes.as_slice());
            match self.beta {
                None => KeyBuf::of(&(name, bytes)),
                Some(_) => KeyBuf::of(&(name, bytes, EARLY)),
            }
        })
        .map_err(|error| self.place.first().here(error))
    }
}

impl<A: ?Sized, V> Clone for Memoized<A, V> {
    fn clone(&self) -> Memoized<A, V> {
        Memoized {
            place: Arc::clone(&self.place),
            name: Arc::clone(&self.name),
            options: self.options.clone(),
            beta: self.beta,
            function: Arc::clone(&self.function),
        }
    }
}

impl<A: ?Sized, V> fmt::Debug for Memoized<A, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memoized")
            .field("name", &self.name)
            .field("directory", &self.place.first().directory())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
