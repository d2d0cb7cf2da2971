//! The attribute of firncache that keeps the results of functions in a cache.
//!
//! Use it as `firncache::memoize`, by firncache's feature `macros`; this crate is only where it has
//! to live.
//!
//! ```text
//! arguments   what is said in the brackets; durations, checked
//! function    what is said by the function, and what cannot be memoized
//! expand      the body that takes its place: plain, with Result, async
//! ```
//!
//! Nothing is decided while the program runs that can be decided here: everything that cannot work
//! is an error at the place where it is written.

mod arguments;
mod expand;
mod function;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as TokenStream2;

use crate::arguments::Arguments;
use crate::function::Function;

/// Keeps the results of a function or method in a cache, under its name and its arguments.
///
/// ```
/// use firncache::{Cache, memoize};
/// use std::sync::LazyLock;
///
/// static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());
///
/// #[memoize(cache = CACHE, expire = "10m", tag = "pages")]
/// fn page(number: u32, language: &str) -> firncache::Result<String> {
///     // .. what takes long ..
///     Ok(format!("page {number} in {language}"))
/// }
///
/// assert_eq!(page(7, "is")?, "page 7 in is");
/// assert_eq!(page(7, "is")?, "page 7 in is"); // from the cache
/// assert_eq!(CACHE.evict("pages")?, 1);
/// # Ok::<(), firncache::Error>(())
/// ```
///
/// # What can be said
///
/// | | |
/// |---|---|
/// | `cache = ..` | needed: an expression for the cache or something that dereferences to it, evaluated at every call: a static, `self.cache`, an argument |
/// | `expire = ..` | how long a result is kept: text such as `"250ms"`, `"60s"`, `"5m"`, `"2h"`, `"1d"`, or an expression for a `Duration`; for ever unless said |
/// | `tag = ..` | a label for [`Cache::evict`]: anything that is a key, also made of the arguments |
/// | `key = ..` | what the result depends on, instead of all arguments: anything that is a key |
/// | `name = ..` | text to be used instead of the function's path |
/// | `cache_if = ..` | a function that is given a reference to the result and tells whether it is to be kept |
///
/// # The key
///
/// The key is `(name, (argument, ..))`. Arguments have to be keys ([`ToKey`]), eight at most; what
/// is equal as a key is the same call: `1` and `1.0`, `0.0` and `-0.0`, `None` and `Some(())`.
///
/// The name is the path of the function, `crate::module::function`, of a method also with its type
/// and trait, of a generic one with its types: methods of the same name do not meet. It changes when
/// the function moves, and may be spelled otherwise by another version of the compiler; then
/// results are computed anew. `name = ".."` keeps it the same.
///
/// **`self` is not part of the key by itself**: a method needs `key`, so that what matters of `self`
/// is in it, or visibly not:
///
/// ```
/// # use firncache::{Cache, memoize};
/// struct Site {
///     host: String,
///     cache: Cache,
/// }
///
/// impl Site {
///     #[memoize(cache = self.cache, key = (&self.host, number))]
///     fn page(&self, number: u32) -> firncache::Result<String> {
///         Ok(format!("{}/{number}", self.host))
///     }
/// }
///
/// let site = Site { host: "example.org".into(), cache: Cache::temporary()? };
/// assert_eq!(site.page(3)?, "example.org/3");
/// assert_eq!(site.cache.len()?, 1);
/// # Ok::<(), firncache::Error>(())
/// ```
///
/// # The result
///
/// - `Result<T, E>` with `E: From<firncache::Error>`: only `Ok` is kept, as a `T`. An error of the
///   cache is the function's error. The type must be *called* `Result`, as `io::Result<T>` or
///   `anyhow::Result<T>` are.
/// - Any other type is kept as a whole. As there is no way to tell of it, an error of the cache
///   (locked too long, disk full, arguments that cannot be a key) is no error: the function then
///   computes, as if there were no cache.
///
/// What is kept must be `Serialize + DeserializeOwned`. A stored value that cannot be read as `T`
/// is an error of the cache: give the function another `name` when the type of its result changes.
///
/// # At the same time
///
/// Calls with the same key at the same time compute once, across threads and processes, by
/// [`Cache::get_or_set_with`]: the others wait for the result.
///
/// An `async fn` is different. It looks, computes, and stores, and waits for nobody: no lock is held
/// over an `.await`, any executor will do, and the future is `Send` if the function's own is. So
/// calls at the same time may each compute, and the last result stays. Looking and storing are short
/// and block the thread; a writer that holds the lock can make storing wait for the handle's
/// `timeout`, so a short one suits.
///
/// ```
/// # use firncache::{Cache, memoize};
/// #[memoize(cache = cache, key = city, expire = "15m")]
/// async fn weather(cache: &Cache, city: &str) -> firncache::Result<f64> {
///     // .. something that awaits ..
/// #   std::future::ready(()).await;
///     Ok(city.len() as f64)
/// }
/// # let cache = Cache::temporary()?;
/// # let mut future = std::pin::pin!(weather(&cache, "Oslo"));
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(future.as_mut().poll(&mut context).is_ready());
/// # assert_eq!(cache.len()?, 1);
/// # Ok::<(), firncache::Error>(())
/// ```
///
/// [`Cache::evict`]: https://docs.rs/firncache/latest/firncache/struct.Cache.html#method.evict
/// [`Cache::get_or_set_with`]: https://docs.rs/firncache/latest/firncache/struct.Cache.html#method.get_or_set_with
/// [`ToKey`]: https://docs.rs/firncache/latest/firncache/trait.ToKey.html
#[proc_macro_attribute]
pub fn memoize(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = TokenStream2::from(item);
    let memoized = Arguments::parse(arguments.into())
        .and_then(|arguments| Ok(Function::parse(item.clone(), &arguments)?.memoized(&arguments)));
    match memoized {
        Ok(function) => function.into(),
        // The function stays, so that nothing else is reported where it is used.
        Err(error) => {
            [error.into_compile_error(), item].into_iter().collect::<TokenStream2>().into()
        }
    }
}
