//! The setters of options that pass on to [`Options`](crate::Options): one table of what each sets
//! and of its example, from which the options of every type take what they offer.

/// Makes setters that pass on to the [`Options`](crate::Options) in the field `options`, each with
/// its doc and an example that runs. First come the words that examples need: the type that is
/// opened, a name for it, and how to come from there to what has settings. What is written before
/// the name of a setter is added to its doc.
///
/// ```text
/// forward_options! { ("Deque::<i32>", "deque", ".cache()"):
///     power_loss;
///     /// Longer suits the patient.
///     timeout;
/// }
/// ```
macro_rules! forward_options {
    ($words:tt: $($(#[$more:meta])* $name:ident;)*) => {
        $(forward_options! { @$name $words [$(#[$more])*] })*
    };

    (@size_limit $words:tt $more:tt) => { forward_options! {
        kept $words $more "the bytes on disk that the cache keeps to",
        size_limit(bytes: u64), "1 << 24"
    } };
    (@eviction $words:tt $more:tt) => { forward_options! {
        kept $words $more "which keys go when the limit is reached",
        eviction(eviction: $crate::format::settings::Eviction), "firncache::Eviction::Sieve"
    } };
    (@cull_limit $words:tt $more:tt) => { forward_options! {
        kept $words $more "how many keys one write removes at most", cull_limit(keys: u32), "100"
    } };
    (@statistics $words:tt $more:tt) => { forward_options! {
        kept $words $more "whether reads are counted", statistics(on: bool), "true"
    } };
    (@value_file_threshold $words:tt $more:tt) => { forward_options! {
        kept $words $more "from how many bytes on a value lies in a file of its own",
        value_file_threshold(bytes: u64), "1 << 16"
    } };
    (@exact_cull_count $words:tt $more:tt) => { forward_options! {
        kept $words $more
        "whether a write that finds the cache full removes exactly `cull_limit` keys",
        exact_cull_count(on: bool), "true"
    } };
    (@power_loss $words:tt $more:tt) => { forward_options! {
        kept $words $more "what is done for the case of power loss",
        power_loss(power_loss: $crate::format::settings::PowerLoss), "firncache::PowerLoss::Clear"
    } };

    (@timeout $words:tt $more:tt) => { forward_options! {
        handle $words $more "how long a call waits for other writers",
        timeout(timeout: std::time::Duration), "std::time::Duration::from_secs(5)",
        ".clear()?;"
    } };
    (@codec $words:tt $more:tt) => { forward_options! {
        handle $words $more "how values without a native form are written",
        codec(codec: impl $crate::cache::codec::Codec), "firncache::Bincode", ".clear()?;"
    } };
    (@compression $words:tt $more:tt) => { forward_options! {
        handle $words $more "how values are compressed",
        compression(compression: $crate::cache::compression::Compression),
        "firncache::Compression::NONE", ".clear()?;"
    } };
    (@clock $words:tt $more:tt) => { forward_options! {
        handle $words $more "the clock that tells when values are stored and expire",
        clock(clock: impl $crate::clock::Clock), "std::time::SystemTime::now", ".clear()?;"
    } };
    (@durability $words:tt $more:tt) => { forward_options! {
        handle $words $more "what a write that returned has survived",
        durability(durability: $crate::cache::options::Durability), "firncache::Durability::Sync",
        ".clear()?; // it is on disk when this returns"
    } };
    (@read_only ($opened:literal, $name:literal, $inner:literal) $more:tt) => { forward_options! {
        setter $more "whether the handle only reads", read_only(on: bool), concat!(
            "firncache::", $opened, "::open(dir.path())?; // made, as a reader makes none\n",
            "let ", $name, " = firncache::", $opened,
            "::options().read_only(true).open(dir.path())?;\n",
            "assert_eq!(", $name, ".clear().unwrap_err().kind(), firncache::ErrorKind::ReadOnly);",
        )
    } };
    (@create ($opened:literal, $name:literal, $inner:literal) $more:tt) => { forward_options! {
        setter $more "whether what does not exist is made", create(on: bool), concat!(
            "let missing = dir.path().join(\"missing\");\n",
            "assert!(firncache::", $opened, "::options().create(false).open(&missing).is_err());\n",
            "assert!(!missing.exists());",
        )
    } };
    (@allow_untrusted ($opened:literal, $name:literal, $inner:literal) $more:tt) => {
        forward_options! {
            setter $more "whether an unsafe directory is opened",
            allow_untrusted(on: bool), concat!(
                "use std::os::unix::fs::PermissionsExt;\n",
                "let shared = dir.path().join(\"shared\");\n",
                "std::fs::create_dir(&shared)?;\n",
                "std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777))?;\n",
                "assert!(firncache::", $opened, "::open(&shared).is_err());\n",
                "firncache::", $opened, "::options().allow_untrusted(true).open(&shared)?;",
            )
        }
    };

    // What is kept in the store: the example finds it there.
    (kept ($opened:literal, $name:literal, $inner:literal) $more:tt
     $what:literal, $setter:ident($value:ident: $type:ty), $set:literal) => { forward_options! {
        setter $more $what, $setter($value: $type), concat!(
            "let ", $name, " = firncache::", $opened, "::options().",
            stringify!($setter), "(", $set, ").open(dir.path())?;\n",
            "assert_eq!(", $name, $inner, ".settings().", stringify!($setter), ", ", $set, ");",
        )
    } };
    // What holds for the handle: the example uses it.
    (handle ($opened:literal, $name:literal, $inner:literal) $more:tt
     $what:literal, $setter:ident($value:ident: $type:ty), $set:literal, $use:literal) => {
        forward_options! { setter $more $what, $setter($value: $type), concat!(
            "let ", $name, " = firncache::", $opened, "::options().",
            stringify!($setter), "(", $set, ").open(dir.path())?;\n",
            $name, $use,
        ) }
    };
    (setter [$(#[$more:meta])*]
     $what:literal, $setter:ident($value:ident: $type:ty), $example:expr) => {
        #[doc = concat!(
            "Sets ", $what, ", as [`Options::", stringify!($setter), "`](crate::Options::",
            stringify!($setter), ").",
        )]
        #[doc = ""]
        $(#[$more])*
        #[doc = ""]
        #[doc = "```"]
        #[doc = "# let dir = tempfile::tempdir()?;"]
        #[doc = $example]
        #[doc = "# Ok::<(), Box<dyn std::error::Error>>(())"]
        #[doc = "```"]
        pub fn $setter(mut self, $value: $type) -> Self {
            self.options = self.options.$setter($value);
            self
        }
    };
}
pub(crate) use forward_options;
