//! What is said in the brackets: `name = value`, in any order, each once.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token};

/// The units of durations, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// What the attribute was given.
pub(crate) struct Arguments {
    pub(crate) cache: Expr,
    pub(crate) key: Option<Expr>,
    pub(crate) name: Option<Expr>,
    pub(crate) cache_if: Option<Expr>,
    tag: Option<Expr>,
    /// An expression for a `Duration`.
    expire: Option<TokenStream>,
}

/// One `name = value`.
struct Argument {
    name: Ident,
    value: Expr,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Argument> {
        let name = Ident::parse_any(input)?;
        input.parse::<Token![=]>()?;
        Ok(Argument { name, value: input.parse()? })
    }
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Arguments> {
        let all = syn::punctuated::Punctuated::<Argument, Token![,]>::parse_terminated;
        let (mut cache, mut key, mut name) = (None, None, None);
        let (mut cache_if, mut tag, mut expire) = (None, None, None);
        for Argument { name: what, value } in all.parse2(tokens)? {
            let place = match what.to_string().as_str() {
                "cache" => &mut cache,
                "key" => &mut key,
                "name" => &mut name,
                "cache_if" => &mut cache_if,
                "tag" => &mut tag,
                "expire" => &mut expire,
                _ => {
                    let known = "known are cache, expire, tag, key, name and cache_if";
                    return Err(Error::new(what.span(), format!("unknown argument: {known}")));
                }
            };
            if place.replace(value).is_some() {
                return Err(Error::new(what.span(), format!("`{what}` is given twice")));
            }
        }
        let missing = "say which cache: `#[memoize(cache = ..)]`, such as a static, `self.cache`, \
                       or an argument";
        Ok(Arguments {
            cache: cache.ok_or_else(|| Error::new(Span::call_site(), missing))?,
            key,
            name,
            cache_if,
            tag,
            expire: expire.map(|value| duration(&value)).transpose()?,
        })
    }

    /// An expression for the `SetOptions`.
    pub(crate) fn options(&self) -> TokenStream {
        let expire = self.expire.iter().map(|after| quote!(.expire(#after)));
        let tag = self.tag.iter().map(|tag| quote_spanned!(tag.span()=> .tag(&(#tag))));
        quote!(::firncache::SetOptions::new() #(#expire)* #(#tag)*)
    }
}

/// An expression for the duration that a literal spells, or the expression that is no literal.
fn duration(value: &Expr) -> Result<TokenStream> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let milliseconds = milliseconds(text)?;
            Ok(quote!(::std::time::Duration::from_millis(#milliseconds)))
        }
        Expr::Lit(literal) => {
            let spelled = literal.lit.to_token_stream();
            let cure = format!("a duration needs a unit: write it as text, such as \"{spelled}s\"");
            Err(Error::new(literal.span(), cure))
        }
        expression => Ok(expression.to_token_stream()),
    }
}

fn milliseconds(text: &LitStr) -> Result<u64> {
    let spelled = text.value();
    let digits = spelled.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = spelled[digits.len()..].trim_start();
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let (true, Some((_, each))) = (is_number, known) else {
        let cure = "write a whole number and a unit, one of ms, s, m, h and d: \"90s\"";
        return Err(Error::new(text.span(), format!("`{spelled}` is no duration: {cure}")));
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*each)) {
        Some(0) => Err(Error::new(text.span(), "what expires at once is never found")),
        Some(milliseconds) => Ok(milliseconds),
        None => {
            Err(Error::new(text.span(), "too long: leave `expire` out to keep results for ever"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text: &str| milliseconds(&LitStr::new(text, Span::call_site())).ok();
        for (text, expected) in [
            ("250ms", 250),
            ("60s", 60_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("10 s", 10_000),
            ("007s", 7000),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in ["", "s", "5", "5 ", "-5s", "+5s", "1.5h", "5S", "5min", "1h30m", "0s", "٣s"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("18446744073709551615ms"), Some(u64::MAX));
        assert_eq!(read("18446744073709551616ms"), None);
        assert_eq!(read("18446744073709551615s"), None);
    }
}
