//! What the scalar functions share: a function is a [`Kernel`] over whole columns.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use xxhash_rust::xxh3::xxh3_128;

/// Constants in a name up to this length are spelled out, longer ones hashed (an `in` list may have 10,000 values).
const SPELLED_CONSTANTS: usize = 80;

/// A deterministic function of columns. Equality and hash cover its constants: DataFusion merges equal expressions.
pub(crate) trait Kernel: Debug + Eq + Hash + Send + Sync + 'static {
    /// Name with the constants, from [`name`].
    fn name(&self) -> String;
    fn arguments(&self) -> Arguments;
    fn return_type(&self) -> DataType;
    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments {
    /// One column of text, Utf8View or Utf8.
    Text,
    /// Some columns of text.
    Texts,
    /// One column of any type.
    Any,
    /// Float64 and its exact text.
    Number,
    /// Float64 columns, one or more.
    Doubles,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function<K: Kernel> {
    kernel: K,
    name: String,
    signature: Signature,
}

pub(crate) fn function<K: Kernel>(kernel: K) -> Arc<ScalarUDF> {
    let signature = match kernel.arguments() {
        Arguments::Text => Signature::uniform(1, vec![DataType::Utf8View, DataType::Utf8], Volatility::Immutable),
        Arguments::Texts => Signature::variadic(vec![DataType::Utf8View, DataType::Utf8], Volatility::Immutable),
        Arguments::Any => Signature::any(1, Volatility::Immutable),
        Arguments::Doubles => Signature::variadic(vec![DataType::Float64], Volatility::Immutable),
        Arguments::Number => {
            Signature::new(TypeSignature::Exact(vec![DataType::Float64, DataType::Utf8View]), Volatility::Immutable)
        }
    };
    Arc::new(ScalarUDF::new_from_impl(Function { name: kernel.name(), kernel, signature }))
}

impl<K: Kernel> ScalarUDFImpl for Function<K> {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.kernel.return_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        Ok(ColumnarValue::Array(self.kernel.evaluate(&columns)?))
    }
}

/// `function[constants]`
pub(crate) fn name(function: &str, constants: &str) -> String {
    if constants.len() <= SPELLED_CONSTANTS {
        format!("{function}[{constants}]")
    } else {
        format!("{function}[#{:032x}]", xxh3_128(constants.as_bytes()))
    }
}

/// The only column.
pub(crate) fn single(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    match columns {
        [column] => Ok(column),
        _ => internal_err!("one column needed, {} given", columns.len()),
    }
}

/// The only column as Utf8View.
pub(crate) fn single_text(columns: &[ArrayRef]) -> Result<StringViewArray> {
    text(single(columns)?)
}

/// A column as Utf8View (free of copying for Utf8 up to 4 GiB).
pub(crate) fn text(column: &ArrayRef) -> Result<StringViewArray> {
    match column.as_string_view_opt() {
        Some(text) => Ok(text.clone()),
        None => Ok(cast(column, &DataType::Utf8View)?.as_string_view().clone()),
    }
}
