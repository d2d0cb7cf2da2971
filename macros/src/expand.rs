//! The body that takes the place of the function's own.
//!
//! ```text
//!               the cache fails     computed once at a time
//! Result        is its error        yes, by get_or_set_with
//! other types   computes            yes, by get_or_set_with
//! async         as the two above    no: get, compute, set_with
//! ```
//!
//! The function's own body becomes a closure that is called once, so that `return` and `?` mean what
//! they meant. The key is made before, as the body may move the arguments. What stands here by name
//! is hygienic: it cannot meet the names of the function. How a value gets out of a cache that may
//! fail is in `cache/memoized.rs` of firncache.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::parse_quote_spanned;

use crate::arguments::Arguments;
use crate::function::Function;

impl Function {
    /// The function with its results kept.
    pub(crate) fn memoized(mut self, arguments: &Arguments) -> TokenStream {
        let here = Span::mixed_site();
        let (cache, key, options) = (&arguments.cache, &self.key, arguments.options());
        let name = match &arguments.name {
            Some(name) => quote_spanned!(here=> ::core::convert::AsRef::<str>::as_ref(&(#name))),
            None => quote_spanned!(here=> ::firncache::memoize_name(&|| ())),
        };
        let call = match (self.item.sig.asyncness.is_some(), self.can_fail) {
            (false, true) => self.result(arguments),
            (false, false) => self.plain(arguments),
            (true, true) => self.async_result(arguments),
            (true, false) => self.async_plain(arguments),
        };
        self.item.block = parse_quote_spanned! {here=> {
            let cache = &(#cache);
            let options = #options;
            let key = ::firncache::memoize_key(#name, #key);
            #call
        }};
        self.item.into_token_stream()
    }

    fn result(&self, arguments: &Arguments) -> TokenStream {
        let (here, body) = (Span::mixed_site(), self.body());
        let Some(keep) = &arguments.cache_if else {
            return quote_spanned!(here=> cache.get_or_set_with(key?, options, #body));
        };
        quote_spanned! {here=>
            cache
                .get_or_set_with(key?, options, || ::firncache::Unkept::unless((#body)(), #keep))
                .or_else(::firncache::Unkept::into_result)
        }
    }

    fn plain(&self, arguments: &Arguments) -> TokenStream {
        let (here, body) = (Span::mixed_site(), self.body());
        let keep = match &arguments.cache_if {
            Some(keep) => keep.to_token_stream(),
            None => quote_spanned!(here=> |_| true),
        };
        quote_spanned! {here=>
            let computing = ::firncache::Computing::new(#body);
            let found = match key {
                ::core::result::Result::Ok(key) => {
                    cache.get_or_set_with(key, options, || computing.run(#keep))
                }
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            };
            computing.finish(found)
        }
    }

    fn async_result(&self, arguments: &Arguments) -> TokenStream {
        let (here, body, output) = (Span::mixed_site(), self.body(), &self.output);
        let keep = condition(arguments);
        quote_spanned! {here=>
            let key = key?;
            if let ::core::option::Option::Some(value) = cache.get(&key)? {
                return ::core::result::Result::Ok(value);
            }
            let result: #output = (#body)().await;
            if let ::core::result::Result::Ok(value) = &result {
                if #keep {
                    cache.set_with(&key, value, options)?;
                }
            }
            result
        }
    }

    fn async_plain(&self, arguments: &Arguments) -> TokenStream {
        let (here, body, output) = (Span::mixed_site(), self.body(), &self.output);
        let keep = condition(arguments);
        quote_spanned! {here=>
            if let ::core::result::Result::Ok(key) = &key {
                if let ::core::result::Result::Ok(::core::option::Option::Some(value)) =
                    cache.get(key)
                {
                    return value;
                }
            }
            let result: #output = (#body)().await;
            if let ::core::result::Result::Ok(key) = key {
                let value = &result;
                if #keep {
                    let _ = cache.set_with(key, value, options);
                }
            }
            result
        }
    }

    /// The function's own body, to be called once.
    fn body(&self) -> TokenStream {
        let (here, output, block) = (Span::mixed_site(), &self.output, &self.item.block);
        let asynchronous = &self.item.sig.asyncness;
        quote_spanned!(here=> #asynchronous || -> #output #block)
    }
}

/// Whether `value`, a reference, is to be kept.
fn condition(arguments: &Arguments) -> TokenStream {
    let here = Span::mixed_site();
    match &arguments.cache_if {
        Some(keep) => quote_spanned!(here=> (#keep)(value)),
        None => quote_spanned!(here=> true),
    }
}
