//! The one list of tables whose rows are logged, found by key, replaced and deleted.
//!
//! What exists once for each of them is a [`PerTable`]; what is done with each of them goes through [`per_table`] or
//! [`for_each_table`]. So a further table is one line of [`tables`]; the compiler then asks for what its rows must be able
//! to do: [`TableRow`], and in `write` which operations log them, how they hang on conversations, how they are stored.

use std::fmt;
use std::marker::PhantomData;

use super::table_row::TableRow;
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;

/// A type for each type of row: what a [`PerTable`] holds. The type for one of them stands for all:
/// `PerTable<Tail>` has a `Tail<Event>` for events.
pub(crate) trait Family {
    type Of<R: TableRow>;
}

impl<'a, F: Family + 'a> Family for &'a F {
    type Of<R: TableRow> = &'a F::Of<R>;
}

impl<'a, F: Family + 'a> Family for &'a mut F {
    type Of<R: TableRow> = &'a mut F::Of<R>;
}

/// The same type for every table.
pub(crate) struct Same<T>(PhantomData<T>);

impl<T> Family for Same<T> {
    type Of<R: TableRow> = T;
}

/// Nothing but which table it is.
pub(crate) struct Kind<R = Conversation>(PhantomData<R>);

impl Family for Kind {
    type Of<R: TableRow> = Kind<R>;
}

impl<R: TableRow> Kind<R> {
    pub(crate) fn name(self) -> &'static str {
        R::TABLE.name()
    }
}

impl<R> Default for Kind<R> {
    fn default() -> Self {
        Kind(PhantomData)
    }
}

impl<F: Family> Family for Option<F> {
    type Of<R: TableRow> = Option<F::Of<R>>;
}

impl<F: Family> Family for Vec<F> {
    type Of<R: TableRow> = Vec<F::Of<R>>;
}

/// Gives the list to another macro, behind what is given for that.
macro_rules! tables {
    ([$($then:tt)+] $given:tt) => {
        $($then)+! { $given conversations: Conversation, events: Event, feedback: Feedback }
    };
}

macro_rules! define_per_table {
    (() $($table:ident: $row:ident),+) => {
        pub(crate) struct PerTable<F: Family> {
            $(pub(crate) $table: F::Of<$row>,)+
        }

        impl<F: Family> PerTable<F> {
            pub(crate) fn as_ref(&self) -> PerTable<&F> {
                PerTable { $($table: &self.$table),+ }
            }

            pub(crate) fn as_mut(&mut self) -> PerTable<&mut F> {
                PerTable { $($table: &mut self.$table),+ }
            }
        }

        impl<F: Family> Clone for PerTable<F>
        where
            $(F::Of<$row>: Clone,)+
        {
            fn clone(&self) -> Self {
                PerTable { $($table: self.$table.clone()),+ }
            }
        }

        impl<F: Family> Default for PerTable<F>
        where
            $(F::Of<$row>: Default,)+
        {
            fn default() -> Self {
                PerTable { $($table: Default::default()),+ }
            }
        }

        impl<F: Family> fmt::Debug for PerTable<F>
        where
            $(F::Of<$row>: fmt::Debug,)+
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("PerTable")$(.field(stringify!($table), &self.$table))+.finish()
            }
        }
    };
}

tables!([define_per_table]());

/// A `PerTable` made of others: `per_table!(tail in tails, group in groups => group.finish(tail))`.
macro_rules! per_table {
    ($($part:ident in $from:expr),+ => $make:expr) => {{
        $(let $part = $from;)+
        $crate::storage::format::tables::tables!(
            [$crate::storage::format::tables::make_per_table] (($($part),+) $make)
        )
    }};
}

macro_rules! make_per_table {
    ($given:tt $($table:ident: $row:ident),+) => {
        $crate::storage::format::tables::PerTable {
            $($table: $crate::storage::format::tables::with_table!($table $given)),+
        }
    };
}

/// Does something with each table, one after another: `for_each_table!(tail in &mut tails => tail.freeze())`.
macro_rules! for_each_table {
    ($($part:ident in $from:expr),+ => $then:expr) => {{
        $(let $part = $from;)+
        $crate::storage::format::tables::tables!(
            [$crate::storage::format::tables::do_per_table] (($($part),+) $then)
        )
    }};
}

macro_rules! do_per_table {
    ($given:tt $($table:ident: $row:ident),+) => {{
        $($crate::storage::format::tables::with_table!($table $given);)+
    }};
}

macro_rules! with_table {
    ($table:ident (($($part:ident),+) $then:expr)) => {{
        $(let $part = $part.$table;)+
        $then
    }};
}

pub(crate) use {do_per_table, for_each_table, make_per_table, per_table, tables, with_table};

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Family for Names {
        type Of<R: TableRow> = Vec<&'static str>;
    }

    #[test]
    fn each_table_is_walked_once_and_in_order() {
        let mut names: PerTable<Names> = PerTable::default();
        let mut count = 0;
        for_each_table!(names in names.as_mut() => {
            count += 1;
            names.push(["", "first", "second", "third"][count]);
        });
        let twice: PerTable<Names> = per_table!(one in names.as_ref(), other in names.clone() => {
            one.iter().chain(&other).copied().collect()
        });
        assert_eq!(twice.conversations, ["first", "first"]);
        assert_eq!(twice.events, ["second", "second"]);
        assert_eq!(twice.feedback, ["third", "third"]);
    }
}
