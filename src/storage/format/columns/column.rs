//! A column of one type of row: what it is, how its value is got from a row, and how it is set in a row that is read
//! back.
//!
//! The tables beside this file are lists of these. All that stores, reads, queries and documents a column derives from
//! its entry there.

#![expect(clippy::indexing_slicing, reason = "done while compiling, where a miss is an error")]

use std::borrow::Cow;

use super::field::{Field, FieldKind, Shown, Values};
use crate::model::ids::EpochMillis;
use crate::model::json::value::RawJson;
use crate::storage::format::layout::{FormatVersion, JsonField};

/// What becomes a row of columns.
pub(crate) trait FlatRow: Sized + Send + Sync + 'static {
    /// What is read back of a stored row.
    type Back;

    /// In the order of the view's fields.
    const COLUMNS: &'static [Column<Self>];

    /// The values of the JSON fields that are spread over property columns, by [`JsonField::ALL`].
    const SPREAD: [Option<JsonGetter<Self>>; 2] = spread::<Self>();

    /// What is filled in when a row is read back.
    fn blank() -> Self::Back;
}

pub(crate) type JsonGetter<R> = fn(&R) -> Option<&RawJson>;

pub(crate) struct Column<R: FlatRow> {
    pub(crate) field: Field,
    pub(crate) get: Get<R>,
    pub(crate) set: Set<R::Back>,
}

/// The value of a column in a row; absent values become nulls.
pub(crate) enum Get<R> {
    Text(fn(&R) -> Option<&str>),
    /// A text that no row has as such.
    MadeText(fn(&R) -> Option<Cow<'_, str>>),
    /// Of a JSON string; stored is the text that it means.
    JsonString(JsonGetter<R>),
    Time(fn(&R) -> Option<EpochMillis>),
    Integer(fn(&R) -> Option<i64>),
    Boolean(fn(&R) -> Option<bool>),
    TextList(fn(&R) -> Option<TextList<'_>>),
    Json(JsonGetter<R>),
    Bytes(fn(&R) -> Vec<u8>),
    /// Of a field whose paths may become property columns.
    Spread(JsonField, JsonGetter<R>),
    /// What the property columns leave of it.
    Remainder(JsonField),
    /// In no row: the scan makes it.
    Computed,
    /// In rows of another table, of which the scan takes it. How many bytes it has there.
    LookedUp(fn(&R) -> usize),
}

#[derive(Clone, Copy)]
pub(crate) enum TextList<'a> {
    One(&'a str),
    Many(&'a [String]),
}

/// What a stored value, if there is one, does to the row that is read back.
pub(crate) enum Set<B> {
    /// The row is complete without it.
    Nothing,
    Text(fn(&mut B, &str)),
    /// A text that not every value is: false for those that cannot be.
    Checked(fn(&mut B, &str) -> bool),
    Time(fn(&mut B, EpochMillis)),
    Integer(fn(&mut B, i64)),
    TextList(fn(&mut B, Vec<String>)),
    Json(fn(&mut B, RawJson)),
    /// False for those that cannot be.
    Bytes(fn(&mut B, &[u8]) -> bool),
}

impl<B> Set<B> {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Set::Nothing)
    }
}

/// To write entries with. A column is optional, hidden, and with statistics if its kind has an order, unless its entry says
/// more.
impl<R: FlatRow> Column<R> {
    const fn new(name: &'static str, kind: FieldKind, get: Get<R>) -> Self {
        let ordered = !matches!(kind, FieldKind::TextList | FieldKind::Json | FieldKind::Binary);
        let field = Field {
            name,
            kind,
            is_list: false,
            required: false,
            since: FormatVersion::FIRST,
            stored: true,
            hidden: false,
            looked_up: false,
            shown: Shown::Never,
            extension: false,
            omit_null: false,
            values: Values::Repeated,
            sorted: false,
            statistics: ordered,
        };
        Self { field, get, set: Set::Nothing }
    }

    pub(crate) const fn text(name: &'static str, get: fn(&R) -> Option<&str>) -> Self {
        Self::new(name, FieldKind::Text, Get::Text(get))
    }

    pub(crate) const fn made_text(name: &'static str, get: fn(&R) -> Option<Cow<'_, str>>) -> Self {
        Self::new(name, FieldKind::Text, Get::MadeText(get))
    }

    pub(crate) const fn json_string(name: &'static str, get: JsonGetter<R>) -> Self {
        Self::new(name, FieldKind::Text, Get::JsonString(get)).values(Values::Long)
    }

    pub(crate) const fn time(name: &'static str, get: fn(&R) -> Option<EpochMillis>) -> Self {
        Self::new(name, FieldKind::Time, Get::Time(get))
    }

    pub(crate) const fn integer(name: &'static str, get: fn(&R) -> Option<i64>) -> Self {
        Self::new(name, FieldKind::Integer, Get::Integer(get))
    }

    pub(crate) const fn boolean(name: &'static str, get: fn(&R) -> Option<bool>) -> Self {
        Self::new(name, FieldKind::Boolean, Get::Boolean(get))
    }

    pub(crate) const fn text_list(name: &'static str, get: fn(&R) -> Option<TextList<'_>>) -> Self {
        Self::new(name, FieldKind::TextList, Get::TextList(get))
    }

    pub(crate) const fn json(name: &'static str, get: JsonGetter<R>) -> Self {
        Self::new(name, FieldKind::Json, Get::Json(get)).values(Values::Long)
    }

    /// A JSON object that is spread over property columns; it needs a [`Self::remainder`] too.
    pub(crate) const fn spread_json(field: JsonField, get: JsonGetter<R>) -> Self {
        Self::new(field.name(), FieldKind::Json, Get::Spread(field, get)).values(Values::Long)
    }

    pub(crate) const fn remainder(field: JsonField) -> Self {
        Self::new(field.remainder_column(), FieldKind::Json, Get::Remainder(field)).values(Values::Long)
    }

    /// Made text of any length, for files only.
    pub(crate) const fn hidden_text(name: &'static str, get: fn(&R) -> Option<Cow<'_, str>>) -> Self {
        Self::made_text(name, get).values(Values::Long).without_statistics().hidden()
    }

    /// One of few texts, for files only: who sent a row, and who chose its id.
    pub(crate) const fn origin(name: &'static str, get: fn(&R) -> Option<&str>) -> Self {
        Self::text(name, get).since(FormatVersion::ORIGIN).without_statistics().hidden()
    }

    /// Bytes for files only; every row has some.
    pub(crate) const fn hidden_bytes(name: &'static str, get: fn(&R) -> Vec<u8>) -> Self {
        Self::new(name, FieldKind::Binary, Get::Bytes(get)).values(Values::Unique).required().hidden()
    }

    pub(crate) const fn computed(name: &'static str, kind: FieldKind) -> Self {
        let mut column = Self::new(name, kind, Get::Computed);
        column.field.stored = false;
        column
    }

    /// What the rows of another table have.
    pub(crate) const fn looked_up(name: &'static str, kind: FieldKind, bytes: fn(&R) -> usize) -> Self {
        let mut column = Self::new(name, kind, Get::LookedUp(bytes));
        column.field.stored = false;
        column.field.looked_up = true;
        column
    }

    pub(crate) const fn required(mut self) -> Self {
        self.field.required = true;
        self
    }

    /// Files of an older version have no such column.
    pub(crate) const fn since(mut self, version: FormatVersion) -> Self {
        self.field.since = version;
        self
    }

    /// A JSON list.
    pub(crate) const fn list(mut self) -> Self {
        self.field.is_list = true;
        self
    }

    /// A field of the view that a request without `select` and `groupBy` shows.
    pub(crate) const fn published(mut self) -> Self {
        self.field.shown = Shown::ByDefault;
        self
    }

    /// Published, but left out of rows where it is null.
    pub(crate) const fn left_out(mut self) -> Self {
        self.field.omit_null = true;
        self.published()
    }

    /// A field of the view that only requests show that name it.
    pub(crate) const fn when_asked(mut self) -> Self {
        self.field.shown = Shown::WhenAsked;
        self
    }

    /// The same of an extension of the query language (contract A5).
    pub(crate) const fn extension(mut self) -> Self {
        self.field.extension = true;
        self.when_asked()
    }

    /// For files only.
    pub(crate) const fn hidden(mut self) -> Self {
        self.field.hidden = true;
        self
    }

    pub(crate) const fn values(mut self, values: Values) -> Self {
        self.field.values = values;
        self
    }

    pub(crate) const fn sorted(mut self) -> Self {
        self.field.sorted = true;
        self
    }

    pub(crate) const fn without_statistics(mut self) -> Self {
        self.field.statistics = false;
        self
    }

    /// How a stored value gets into the row that is read back.
    pub(crate) const fn set(mut self, set: Set<R::Back>) -> Self {
        self.set = set;
        self
    }
}

impl<R: FlatRow> Column<R> {
    /// Bytes of a long value.
    fn bytes(&self, row: &R) -> usize {
        match &self.get {
            Get::Text(get) => get(row).map_or(0, str::len),
            Get::Json(get) | Get::JsonString(get) | Get::Spread(_, get) => get(row).map_or(0, |json| json.get().len()),
            Get::MadeText(get) => get(row).map_or(0, |text| text.len()),
            Get::LookedUp(bytes) => bytes(row),
            _ => 0,
        }
    }
}

/// The columns whose values may be as long as documents.
pub(crate) struct LongColumns<R: FlatRow>(Vec<&'static Column<R>>);

impl<R: FlatRow> LongColumns<R> {
    pub(crate) fn new() -> Self {
        Self(R::COLUMNS.iter().filter(|column| column.field.is_long()).collect())
    }

    /// Of all values that are stored of a row.
    pub(crate) fn bytes(&self, row: &R) -> usize {
        self.0.iter().filter(|column| column.field.stored).map(|column| column.bytes(row)).sum()
    }

    /// Of the longest value of a row, looked up or not.
    pub(crate) fn longest(&self, row: &R) -> usize {
        self.0.iter().map(|column| column.bytes(row)).max().unwrap_or(0)
    }
}

const fn spread<R: FlatRow>() -> [Option<JsonGetter<R>>; 2] {
    let mut found = [None; 2];
    let mut next = 0;
    while next < R::COLUMNS.len() {
        if let Get::Spread(field, get) = &R::COLUMNS[next].get {
            found[*field as usize] = Some(*get);
        }
        next += 1;
    }
    found
}

/// The columns of a row as fields.
pub(crate) const fn fields<R: FlatRow, const N: usize>() -> [&'static Field; N] {
    let mut fields = [&R::COLUMNS[0].field; N];
    let mut next = 0;
    while next < N {
        fields[next] = &R::COLUMNS[next].field;
        next += 1;
    }
    fields
}

/// How many of them a view shows.
pub(crate) const fn shown_count<R: FlatRow>() -> usize {
    let (mut next, mut count) = (0, 0);
    while next < R::COLUMNS.len() {
        if !matches!(R::COLUMNS[next].field.shown, Shown::Never) {
            count += 1;
        }
        next += 1;
    }
    count
}

/// Those.
pub(crate) const fn shown<R: FlatRow, const N: usize>() -> [&'static Field; N] {
    let mut fields = [&R::COLUMNS[0].field; N];
    let (mut next, mut count) = (0, 0);
    while next < R::COLUMNS.len() {
        if !matches!(R::COLUMNS[next].field.shown, Shown::Never) {
            fields[count] = &R::COLUMNS[next].field;
            count += 1;
        }
        next += 1;
    }
    fields
}
