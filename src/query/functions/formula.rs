//! Formulas over the aggregations of a group (contract A5).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Arguments, Kernel, function, name};
use crate::query::dsl::{Arithmetic, Formula};

/// Float64 columns, which the formula's aggregations are by their positions → Float64. Null where an operand is null, a
/// divisor 0 or a result not finite.
pub(crate) fn formula(formula: Formula) -> Arc<ScalarUDF> {
    function(Calculation { formula })
}

#[derive(Debug)]
struct Calculation {
    formula: Formula,
}

impl PartialEq for Calculation {
    fn eq(&self, other: &Self) -> bool {
        self.formula == other.formula
    }
}

impl Eq for Calculation {}

impl Hash for Calculation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{:?}", self.formula).hash(state);
    }
}

impl Kernel for Calculation {
    fn name(&self) -> String {
        name("formula", &format!("{:?}", self.formula))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Doubles
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let mut operands = Vec::with_capacity(columns.len());
        for column in columns {
            match column.as_primitive_opt::<Float64Type>() {
                Some(column) => operands.push(column),
                None => return internal_err!("a formula needs doubles, {} given", column.data_type()),
            }
        }
        let rows = operands.first().map_or(0, |column| column.len());
        let values: Float64Array = (0..rows).map(|row| value(&self.formula, &operands, row)).collect();
        Ok(Arc::new(values))
    }
}

/// What a formula without aggregations gives.
pub(crate) fn constant(formula: &Formula) -> Option<f64> {
    value(formula, &[], 0)
}

fn value(formula: &Formula, operands: &[&Float64Array], row: usize) -> Option<f64> {
    let value = match formula {
        Formula::Number(value) => *value,
        Formula::Aggregation(position) => {
            let column = operands.get(*position).filter(|column| column.is_valid(row))?;
            column.value(row)
        }
        Formula::Negated(inner) => -value(inner, operands, row)?,
        Formula::Binary(left, operation, right) => {
            let (left, right) = (value(left, operands, row)?, value(right, operands, row)?);
            match operation {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
            }
        }
    };
    // What is divided by 0 is not finite, and negative zero is zero.
    value.is_finite().then_some(value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calculates() {
        let operand = |position| Box::new(Formula::Aggregation(position));
        let divided = Formula::Binary(operand(0), Arithmetic::Divide, operand(1));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![Some(6.0), Some(1.0), Some(0.0), None, Some(1e308), Some(-0.0)])),
            Arc::new(Float64Array::from(vec![Some(4.0), Some(0.0), Some(0.0), Some(1.0), Some(1e-308), Some(1.0)])),
        ];
        let results = Calculation { formula: divided.clone() }.evaluate(&columns).expect("doubles");
        let results: Vec<Option<f64>> = results.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(results, [Some(1.5), None, None, None, None, Some(0.0)]);
        assert!(results[5].is_some_and(f64::is_sign_positive));
        // A divisor of 0 stays absent whatever is done with the quotient.
        let inverted = Formula::Binary(Box::new(Formula::Number(1.0)), Arithmetic::Divide, Box::new(divided));
        let results = Calculation { formula: inverted }.evaluate(&columns).expect("doubles");
        assert!(results.is_null(1));
        assert_eq!(constant(&Formula::Negated(Box::new(Formula::Number(2.5)))), Some(-2.5));
    }
}
