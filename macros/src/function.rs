//! The function that is memoized, and what cannot be.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Pat, Result, ReturnType, Signature, Type};

use crate::arguments::Arguments;

/// A tuple of keys has no more parts.
const MAX_PARTS: usize = 8;

/// A function, and what is to be known about it.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    /// An expression for what the result depends on: a reference to a key.
    pub(crate) key: TokenStream,
    /// The type of the result.
    pub(crate) output: TokenStream,
    /// Whether the result is a `Result`.
    pub(crate) can_fail: bool,
}

impl Function {
    pub(crate) fn parse(item: TokenStream, arguments: &Arguments) -> Result<Function> {
        let whole = item.clone();
        let item: ItemFn = syn::parse2(item).map_err(|_| {
            Error::new_spanned(whole, "`memoize` stands before a function or method with a body")
        })?;
        if let Some(word) = &item.sig.constness {
            return Err(Error::new(word.span(), "a `const fn` cannot use a cache"));
        }
        let key = match &arguments.key {
            Some(key) => quote_spanned!(key.span()=> &(#key)),
            None => default_key(&item.sig)?,
        };
        let (output, can_fail) = match &item.sig.output {
            ReturnType::Default => (quote!(()), false),
            ReturnType::Type(_, output) => {
                if let Type::ImplTrait(opaque) = &**output {
                    let what = "`impl ..` cannot be read back from a cache: name the type";
                    return Err(Error::new_spanned(opaque, what));
                }
                (quote!(#output), is_result(output))
            }
        };
        Ok(Function { item, key, output, can_fail })
    }
}

fn is_result(output: &Type) -> bool {
    let Type::Path(path) = output else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Result")
}

/// All arguments, as a tuple.
fn default_key(signature: &Signature) -> Result<TokenStream> {
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new_spanned(
            receiver,
            "`self` is not part of the key by itself: add `key = ..` with all that the result \
             depends on, such as `key = (self.id, page)`",
        ));
    }
    let names = signature.inputs.iter().map(argument_name).collect::<Result<Vec<_>>>()?;
    if names.len() > MAX_PARTS {
        let what = "more than 8 arguments: add `key = ..` with those that the result depends on";
        return Err(Error::new_spanned(&signature.inputs, what));
    }
    // Each as far as its own type, so that a type that is no key is pointed at.
    let parts = names.iter().zip(&signature.inputs).map(
        |(name, argument)| quote_spanned!(argument.span()=> ::firncache::memoize_part(&#name)),
    );
    Ok(quote!(&(#(#parts,)*)))
}

fn argument_name(argument: &FnArg) -> Result<&Ident> {
    if let FnArg::Typed(typed) = argument
        && let Pat::Ident(named) = &*typed.pat
        && named.subpat.is_none()
    {
        return Ok(&named.ident);
    }
    let what = "this argument has no name to take it into the key by: name it, or add `key = ..`";
    Err(Error::new_spanned(argument, what))
}
