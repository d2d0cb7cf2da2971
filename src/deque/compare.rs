//! Equality and order of deques, as of slices: item by item, the shorter first.

use std::cmp::Ordering;

use serde::de::DeserializeOwned;

use crate::deque::Deque;
use crate::error::Result;

/// Item by item, the shorter first; `None` where two items have no order.
fn compare<T: PartialOrd<U>, U>(
    mut items: impl Iterator<Item = Result<T>>,
    mut others: impl Iterator<Item = Result<U>>,
) -> Result<Option<Ordering>> {
    loop {
        match (items.next().transpose()?, others.next().transpose()?) {
            (None, None) => return Ok(Some(Ordering::Equal)),
            (None, Some(_)) => return Ok(Some(Ordering::Less)),
            (Some(_), None) => return Ok(Some(Ordering::Greater)),
            (Some(item), Some(other)) => match item.partial_cmp(&other) {
                Some(Ordering::Equal) => {}
                order => return Ok(order),
            },
        }
    }
}

fn are_equal<T: PartialEq<U>, U>(
    mut items: impl Iterator<Item = Result<T>>,
    mut others: impl Iterator<Item = Result<U>>,
) -> Result<bool> {
    loop {
        match (items.next().transpose()?, others.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(item), Some(other)) if item == other => {}
            _ => return Ok(false),
        }
    }
}

/// The operators have no way to give an error back.
fn or_panic<R>(result: Result<R>) -> R {
    match result {
        Ok(result) => result,
        Err(error) => panic!("cannot compare the deque: {error}; eq_slice() and cmp_slice() do"),
    }
}

/// A reference that compares as what it refers to.
#[derive(PartialEq, PartialOrd)]
struct By<'a, T>(&'a T);

impl<'a, T: PartialEq> PartialEq<By<'a, T>> for Owned<T> {
    fn eq(&self, other: &By<'a, T>) -> bool {
        self.0 == *other.0
    }
}

impl<'a, T: PartialOrd> PartialOrd<By<'a, T>> for Owned<T> {
    fn partial_cmp(&self, other: &By<'a, T>) -> Option<Ordering> {
        self.0.partial_cmp(other.0)
    }
}

/// An item that was read.
struct Owned<T>(T);

impl<T: DeserializeOwned> Deque<T> {
    /// Tells whether the items are those of a slice, in the same order.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`](crate::Cache::get).
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([1, 2])?;
    /// assert!(deque.eq_slice(&[1, 2])? && !deque.eq_slice(&[1, 2, 3])?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn eq_slice(&self, items: &[T]) -> Result<bool>
    where
        T: PartialEq,
    {
        are_equal(self.iter().map(|it| it.map(Owned)), items.iter().map(|it| Ok(By(it))))
    }

    /// Compares the items with those of a slice, item by item, the shorter first; `None` where two
    /// items have no order.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`](crate::Cache::get).
    ///
    /// ```
    /// use std::cmp::Ordering;
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([1, 2])?;
    /// assert_eq!(deque.cmp_slice(&[1, 3])?, Some(Ordering::Less));
    /// assert_eq!(deque.cmp_slice(&[1])?, Some(Ordering::Greater));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn cmp_slice(&self, items: &[T]) -> Result<Option<Ordering>>
    where
        T: PartialOrd,
    {
        compare(self.iter().map(|it| it.map(Owned)), items.iter().map(|it| Ok(By(it))))
    }
}

macro_rules! compared_with {
    ($($(#[$const:meta])? [$($generic:tt)*] $other:ty;)*) => {$(
        /// # Panics
        ///
        /// If an item cannot be read; [`Deque::eq_slice`] gives an error instead.
        impl<T: DeserializeOwned + PartialEq, $($generic)*> PartialEq<$other> for Deque<T> {
            fn eq(&self, other: &$other) -> bool {
                or_panic(self.eq_slice(other))
            }
        }

        /// # Panics
        ///
        /// If an item cannot be read; [`Deque::cmp_slice`] gives an error instead.
        impl<T: DeserializeOwned + PartialOrd, $($generic)*> PartialOrd<$other> for Deque<T> {
            fn partial_cmp(&self, other: &$other) -> Option<Ordering> {
                or_panic(self.cmp_slice(other))
            }
        }
    )*};
}

compared_with! {
    [] [T];
    [] &[T];
    [] Vec<T>;
    [const N: usize] [T; N];
}

/// # Panics
///
/// If an item of either cannot be read.
impl<T: DeserializeOwned + PartialEq> PartialEq for Deque<T> {
    fn eq(&self, other: &Deque<T>) -> bool {
        or_panic(are_equal(self.iter(), other.iter()))
    }
}

/// # Panics
///
/// If an item of either cannot be read.
impl<T: DeserializeOwned + PartialOrd> PartialOrd for Deque<T> {
    fn partial_cmp(&self, other: &Deque<T>) -> Option<Ordering> {
        or_panic(compare(self.iter(), other.iter()))
    }
}
