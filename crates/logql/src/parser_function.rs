//! Functions of samples with PromQL's names; Loki v3.7.6 refuses them as unknown names.

use crate::error::ParseError;
use crate::number::SixDecimals;
use crate::parser::Parser;
use crate::parser_metric::Built;
use crate::tree::Expr;
use crate::tree_function::{FunctionExpr, LabelJoin, MapCall, MapOp};
use crate::tree_metric::MetricExpr;

impl Parser<'_> {
    /// Reads a function at its name.
    pub(crate) fn parse_function(&mut self, name: &'static str) -> Result<Built, ParseError> {
        match MapOp::ALL.into_iter().find(|op| op.as_str() == name) {
            Some(op) => self.parse_map(op),
            None => match name {
                "label_join" => self.parse_label_join(),
                "time" => self.parse_time(),
                _ => Err(self.unexpected(&[])),
            },
        }
    }

    /// Reads `(` and the samples that a function is applied to.
    fn parse_samples(&mut self, name: &str) -> Result<(Box<MetricExpr>, usize), ParseError> {
        let start = self.start();
        self.advance();
        self.expect_sign("(")?;
        let (inner, levels) = self.parse_operand_of()?;
        if let MetricExpr::Literal(value) = *inner {
            let value = SixDecimals(value);
            return Err(
                self.refuse(format!("unexpected literal in {name}: {value}; wrap it in vector()"), start)
            );
        }
        Ok((inner, levels))
    }

    fn parse_map(&mut self, op: MapOp) -> Result<Built, ParseError> {
        let (inner, levels) = self.parse_samples(op.as_str())?;
        let params = self.parse_params(op)?;
        self.expect_sign(")")?;
        Ok(built(FunctionExpr::Map(MapCall { op, inner, params }), levels))
    }

    fn parse_params(&mut self, op: MapOp) -> Result<Vec<f64>, ParseError> {
        let (least, most) = op.params();
        let mut params = Vec::with_capacity(most);
        while params.len() < most && (params.len() < least || self.is_sign(",")) {
            self.expect_sign(",")?;
            let start = self.start();
            let param = self.parse_signed_number()?;
            if !param.is_finite() {
                return Err(self.refuse_here("syntax error: number out of range", start));
            }
            params.push(param);
        }
        Ok(params)
    }

    fn parse_label_join(&mut self) -> Result<Built, ParseError> {
        let (inner, levels) = self.parse_samples("label_join")?;
        self.expect_sign(",")?;
        let label = self.expect_text()?;
        self.expect_sign(",")?;
        let separator = self.expect_text()?;
        let mut sources = Vec::new();
        while sources.is_empty() || self.is_sign(",") {
            self.expect_sign(",")?;
            sources.push(self.expect_text()?);
        }
        self.expect_sign(")")?;
        Ok(built(FunctionExpr::LabelJoin(LabelJoin { inner, label, separator, sources }), levels))
    }

    fn parse_time(&mut self) -> Result<Built, ParseError> {
        self.advance();
        self.expect_sign("(")?;
        self.expect_sign(")")?;
        Ok(built(FunctionExpr::Time, 1))
    }
}

fn built(function: FunctionExpr, levels: usize) -> Built {
    (Box::new(Expr::Metric(MetricExpr::Function(function))), levels)
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn check(text: &str, expect: &str) {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), expect, "{text}");
        assert_eq!(parse(expect).as_ref(), Ok(&expr), "{text}");
        let pretty = crate::pretty(&expr);
        assert_eq!(parse(&pretty).as_ref(), Ok(&expr), "{pretty}");
    }

    fn same(text: &str) {
        check(text, text);
    }

    #[test]
    fn functions() {
        same(r#"abs(rate({a="b"}[5m]))"#);
        check(r#"CLAMP( vector(1) ,-1.5, 2)"#, "clamp(vector(1.000000),-1.5,2)");
        same("round(vector(1.000000))");
        same("round(vector(1.000000),0.5)");
        same(r#"label_join(vector(1.000000),"x","-","a","b.c")"#);
        same("(time() - 5)");
        same(r#"present_over_time({a="b"}[5m]) by (a)"#);
        same(r#"count_distinct_over_time(user,{a="b"} | json[5m]) by (a)"#);
        same(r#"count_distinct_over_time("on",{a="b"}[5m] offset 1m0s)"#);
        same(r#"increase({a="b"} | unwrap x[5m])"#);
        check(
            &format!(r#"clamp_max(sum by (a) (rate({{a="b"}} |= "{0}" | json [5m])), 5)"#, "x".repeat(100)),
            &format!(r#"clamp_max(sum by (a)(rate({{a="b"}} |= "{0}" | json[5m])),5)"#, "x".repeat(100)),
        );
        check(
            &format!(r#"label_join(rate({{a="b"}} |= "{0}"[5m]), "x", "", "y")"#, "x".repeat(100)),
            &format!(r#"label_join(rate({{a="b"}} |= "{0}"[5m]),"x","","y")"#, "x".repeat(100)),
        );
    }

    #[test]
    fn names_stay_names() {
        same(r#"{abs="x", time="y"} | round>5 | drop group,quantile | clamp="1""#);
    }

    #[test]
    fn refused() {
        for text in [
            "abs(5)",
            "clamp(vector(1), 1)",
            "clamp_min(vector(1))",
            "round(vector(1), 1, 2)",
            "time(5)",
            "clamp_min(vector(1), 1e999)",
            "label_join(vector(1), \"x\", \"-\")",
            "quantile(0.5, vector(1))",
            "count_values(\"v\", vector(1))",
            "group(vector(1))",
            "absent(vector(1))",
            "topk(-1, vector(1))",
            r#"increase({a="b"}[5m])"#,
            r#"increase({a="b"} | unwrap x [5m]) by (y)"#,
            r#"present_over_time({a="b"} | unwrap x [5m])"#,
            r#"abs({a="b"})"#,
            "1 or time()",
            r#"count_distinct_over_time({a="b"}[5m])"#,
            r#"count_distinct_over_time(5, {a="b"}[5m])"#,
            r#"count_distinct_over_time(x, {a="b"} | unwrap y [5m])"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
