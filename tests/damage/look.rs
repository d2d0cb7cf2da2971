//! What is done to a damaged store, and what it may answer.

use std::collections::BTreeSet;
use std::fmt::Debug;

use firncache::{Cache, Error, ErrorKind, Key};

use crate::sample::{Model, Sample, Value, note, options};

/// How much a trial does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Depth {
    /// Reads and walks.
    Read,
    /// Writes as well, and compacts.
    Write,
    /// Repairs, and then all must be well.
    Repair,
}

/// What damage may do to the answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allowed {
    /// Misses and errors.
    Loss,
    /// A value that the key had earlier, too: what a rebuild from a log with gaps can give.
    Earlier,
}

type Outcome<T> = Result<T, String>;

/// Steps that more than this many keys take are taken for endless.
const MOST_KEYS: usize = 10_000;

/// Opens the store and does all of it. An error of an expected kind ends what it belongs to.
pub(crate) fn look(sample: &Sample, depth: Depth, allowed: Allowed) -> Outcome<()> {
    let Some(cache) = tell(options().open(&sample.path), "open", false)? else { return Ok(()) };
    let mut model = sample.model.clone();
    read_all(&cache, &model, allowed)?;
    walk(&cache, &model, allowed)?;
    tell(cache.len(), "len", false)?;
    let report = tell(cache.check(), "check", false)?;
    if depth == Depth::Read {
        return Ok(());
    }
    if depth == Depth::Repair {
        if tell(cache.repair(), "repair", false)?.is_none() {
            return Ok(());
        }
        let again = cache.check().map_err(|error| format!("check after repair: {error}"))?;
        // A gap in the log stays, until the log is compacted.
        let mut left =
            again.findings().iter().filter(|it| !it.what().starts_with("the log is damaged"));
        if left.next().is_some() {
            return Err(format!("check after repair finds {again}; before {report:?}"));
        }
        read_all(&cache, &model, Allowed::Earlier)?;
    }
    let allowed = if depth == Depth::Repair { Allowed::Earlier } else { allowed };
    write(&cache, &mut model)?;
    read_all(&cache, &model, allowed)?;
    walk(&cache, &model, allowed)?;
    tell(cache.compact(), "compact", true)?;
    tell(cache.sync(), "sync", true)?;
    read_all(&cache, &model, allowed)?;
    tell(cache.check(), "check after writing", true)?;
    drop(cache);
    // What is kept is as good when it is opened again.
    let Some(cache) = tell(options().open(&sample.path), "open again", true)? else {
        return Ok(());
    };
    read_all(&cache, &model, allowed)
}

/// What a handle answers that was open when the damage was done.
pub(crate) fn look_alive(cache: &Cache, sample: &Sample) -> Outcome<()> {
    read_all(cache, &sample.model, Allowed::Loss)?;
    walk(cache, &sample.model, Allowed::Loss)?;
    tell(cache.len(), "len", false).map(drop)
}

/// An error of a damaged store is no failure of the trial, if it is of a kind that says so.
fn tell<T>(result: Result<T, Error>, what: &str, writes: bool) -> Outcome<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Version | ErrorKind::Io => Ok(None),
            // A damaged limit is a limit; a damaged head can look like one of an earlier boot.
            ErrorKind::TooLarge | ErrorKind::Full | ErrorKind::Unsupported if writes => Ok(None),
            kind => Err(format!("{what} fails with {kind:?}: {error}")),
        },
    }
}

fn is_right(model: &Model, key: &Key, value: &Value, allowed: Allowed) -> bool {
    model.get(key).is_some_and(|known| {
        known.current.as_ref() == Some(value)
            || allowed == Allowed::Earlier && known.earlier.contains(value)
    })
}

fn wrong(key: &Key, value: impl Debug, model: &Model) -> String {
    format!("{key} reads as {value:?}, known is {:?}", model.get(key))
}

fn read_all(cache: &Cache, model: &Model, allowed: Allowed) -> Outcome<()> {
    for key in model.keys() {
        if let Some(Some(value)) = tell(cache.get::<Value>(key), "get", false)?
            && !is_right(model, key, &value, allowed)
        {
            return Err(wrong(key, value, model));
        }
        if let Some(Some(entry)) = tell(cache.get_entry::<Value>(key), "get_entry", false)? {
            let is_tagged = *key == Key::from("tagged");
            let tag = is_tagged.then(|| Key::from("tag"));
            let is_same = entry.tag == tag && entry.expires_at.is_some() == is_tagged;
            let may_differ = allowed == Allowed::Earlier;
            if !is_right(model, key, &entry.value, allowed) || !is_same && !may_differ {
                return Err(wrong(key, entry, model));
            }
        }
    }
    let keys: Vec<&Key> = model.keys().collect();
    let Some(values) = tell(cache.get_many::<Value>(&keys), "get_many", false)? else {
        return Ok(());
    };
    for (key, value) in keys.into_iter().zip(values) {
        if let Some(value) = value
            && !is_right(model, key, &value, allowed)
        {
            return Err(wrong(key, value, model));
        }
    }
    Ok(())
}

fn walk(cache: &Cache, model: &Model, allowed: Allowed) -> Outcome<()> {
    let mut steps = 0;
    let mut seen = BTreeSet::new();
    for key in cache.iter() {
        steps += 1;
        let Some(key) = tell(key, "iter", false)? else { break };
        if !model.contains_key(&key) {
            return Err(format!("the walk gives {key}, which was never there"));
        }
        if !seen.insert(key.clone()) {
            return Err(format!("the walk gives {key} twice"));
        }
        if steps > MOST_KEYS {
            return Err("the walk does not end".to_owned());
        }
    }
    for key in cache.iter().rev().take(MOST_KEYS) {
        let Some(key) = tell(key, "iter().rev()", false)? else { break };
        if !model.contains_key(&key) {
            return Err(format!("the walk back gives {key}, which was never there"));
        }
    }
    for item in cache.items::<Value>().take(MOST_KEYS) {
        let Some((key, value)) = tell(item, "items", false)? else { break };
        // A walk shows what has expired until it is removed.
        let is_expired = key == Key::from("expired") && value == Value::Int(7);
        if !is_expired && !is_right(model, &key, &value, allowed) {
            return Err(format!("items: {}", wrong(&key, value, model)));
        }
    }
    Ok(())
}

fn write(cache: &Cache, model: &mut Model) -> Outcome<()> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut sets = vec![(Key::from("new"), text("stored after the damage"))];
    sets.push((Key::from("overwritten"), text("stored again")));
    sets.push((Key::from(("many", 1)), Value::Int(11)));
    sets.push((Key::from("large"), Value::Text("other ".repeat(300))));
    for (key, value) in sets {
        let done = tell(cache.set(&key, &value), "set", true)?;
        settle(model, key, Some(value), done.is_some());
    }
    for key in [Key::from(("many", 0)), Key::from("tagged")] {
        let done = tell(cache.delete(&key), "delete", true)?;
        settle(model, key, None, done.is_some());
    }
    let both = (Key::from("both"), Key::from("many of them"));
    let done = cache.transact(|tx| {
        tx.set(&both.0, &3)?;
        tx.set(&both.1, &4)
    });
    let done = tell(done, "transact", true)?;
    settle(model, both.0, Some(Value::Int(3)), done.is_some());
    settle(model, both.1, Some(Value::Int(4)), done.is_some());
    Ok(())
}

/// After a write that failed, the value before it is as good as the new one.
fn settle(model: &mut Model, key: Key, value: Option<Value>, is_done: bool) {
    if is_done {
        note(model, key, value);
    }
}
