//! `/analytics`: volume, success and shares by day, of one currency at a time. It is drawn from the totals that the consumer
//! `daily_totals` keeps, and says when these are behind.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::{currency::Currency, time::Timestamp};
use store::daily_totals::{self, MICROS_A_DAY, Of, Total, Transition};
use stream::lag::Lag;

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::Params,
    show::{
        Money,
        chart::{self, Bar, Line, Plot},
        span,
    },
    state::Console,
};

/// What keeps the totals.
const CONSUMER: &str = "daily_totals";
const PERIODS_DAYS: [i64; 3] = [7, 30, 90];
const PERIOD_DAYS_DEFAULT: i64 = 30;
/// A rate of one, in thousandths.
const RATE_MAX: i128 = 1000;

#[derive(Template)]
#[template(path = "analytics.html")]
struct AnalyticsPage {
    frame: Frame,
    params: Params,
    days: i64,
    periods: Vec<Choice>,
    currencies: Vec<Choice>,
    behind: Behind,
    shown: Option<Charts>,
}

struct Choice {
    name: String,
    href: String,
    is_chosen: bool,
}

/// How far the totals are behind the log.
enum Behind {
    Nothing,
    /// The consumer has never run.
    NotBegun,
    /// Somebody has paused it.
    Paused(i64),
    By(i64, String),
}

/// Everything about one currency.
struct Charts {
    currency: String,
    volume: Money,
    refunds: Money,
    average: Option<Money>,
    completed: i64,
    rate: String,
    width: i64,
    height: i64,
    /// The drawing's right and bottom ends, for the texts along its axes.
    ticks: Vec<(i64, String)>,
    volume_grid: Vec<(i64, String)>,
    volume_line: Line,
    refunds_line: Line,
    rate_grid: Vec<(i64, String)>,
    rate_bars: Vec<RateBar>,
    shares: Vec<Share>,
    rows: Vec<DayRow>,
}

struct RateBar {
    bar: Bar,
    title: String,
}

struct Share {
    name: &'static str,
    class: &'static str,
    payments: i64,
    percent: String,
    x: i64,
    width: i64,
}

struct DayRow {
    day: String,
    created: i64,
    completed: i64,
    volume: Money,
    failed: i64,
    refunded: i64,
    refunds: Money,
    rate: String,
}

/// `GET /analytics`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let days = params
        .read("days", "7, 30 or 90", |text| text.parse().ok().filter(|days| PERIODS_DAYS.contains(days)));
    let days = days.unwrap_or(PERIOD_DAYS_DEFAULT);
    let wanted = params.currency();
    let first_day = Of::day_of(visit.clock.now) - days + 1;
    let totals = if params.is_wrong() {
        Vec::new()
    } else {
        console.read(daily_totals::since(console.db(), first_day)).await?
    };
    let pulse = console.read(console.pulses().now()).await?;
    let currencies = currencies(&totals);
    let chosen = wanted.or_else(|| currencies.first().copied());
    let choose = |name: &str, value: String, is_chosen| Choice {
        href: params.with(name, &value),
        name: value,
        is_chosen,
    };
    render(&AnalyticsPage {
        days,
        periods: PERIODS_DAYS.map(|period| choose("days", period.to_string(), period == days)).into(),
        currencies: currencies
            .iter()
            .map(|currency| choose("currency", currency.code().to_owned(), Some(*currency) == chosen))
            .collect(),
        behind: behind(pulse.lags.iter().find(|lag| lag.consumer == CONSUMER)),
        shown: chosen
            .filter(|currency| currencies.contains(currency))
            .map(|currency| charts(&Series::new(&totals, currency, first_day, days))),
        frame: visit.frame(Section::Analytics, "Analytics"),
        params,
    })
}

fn behind(lag: Option<&Lag>) -> Behind {
    match lag {
        None => Behind::NotBegun,
        Some(lag) if lag.is_paused => Behind::Paused(lag.events),
        Some(lag) if lag.events > 0 => Behind::By(lag.events, span(lag.micros)),
        Some(_) => Behind::Nothing,
    }
}

/// Those with the most payments first.
fn currencies(totals: &[(Of, Total)]) -> Vec<Currency> {
    let mut counts: Vec<(i64, Currency)> = Vec::new();
    for (of, total) in totals {
        match counts.iter_mut().find(|(_, currency)| *currency == of.currency) {
            Some((count, _)) => *count += total.payments,
            None => counts.push((total.payments, of.currency)),
        }
    }
    counts.sort_by_key(|(count, currency)| (std::cmp::Reverse(*count), *currency));
    counts.into_iter().map(|(_, currency)| currency).collect()
}

/// A currency's totals, a row a day without gaps, oldest first.
struct Series {
    currency: Currency,
    first_day: i64,
    /// By [`Transition::index`].
    days: Vec<[Total; 4]>,
}

impl Series {
    fn new(totals: &[(Of, Total)], currency: Currency, first_day: i64, days: i64) -> Self {
        let mut series = vec![[Total::default(); 4]; usize::try_from(days).unwrap_or(0)];
        for (of, total) in totals.iter().filter(|(of, _)| of.currency == currency) {
            let place = usize::try_from(of.day - first_day).ok();
            // A clock that runs ahead may have written tomorrow.
            if let Some(day) = place.and_then(|place| series.get_mut(place)) {
                day[of.transition.index()] = *total;
            }
        }
        Self { currency, first_day, days: series }
    }

    fn day(&self, place: usize) -> String {
        let day = self.first_day + i64::try_from(place).unwrap_or(0);
        Timestamp::from_micros(day * MICROS_A_DAY).date_utc()
    }

    fn amounts(&self, transition: Transition) -> Vec<i128> {
        self.days.iter().map(|day| day[transition.index()].amount_minor).collect()
    }

    fn payments(&self, transition: Transition) -> i64 {
        self.days.iter().map(|day| day[transition.index()].payments).sum()
    }

    fn amount(&self, transition: Transition) -> i128 {
        self.amounts(transition).into_iter().sum()
    }

    fn money(&self, minor: i128) -> Money {
        Money::sum(minor, self.currency)
    }
}

fn charts(series: &Series) -> Charts {
    let (volume, refunds) = (series.amounts(Transition::Completed), series.amounts(Transition::Refunded));
    let money = Plot::new(series.days.len(), volume.iter().chain(&refunds).copied());
    let rates = Plot { places: series.days.len(), max: RATE_MAX };
    let completed = series.payments(Transition::Completed);
    let failed = series.payments(Transition::Failed);
    Charts {
        currency: series.currency.code().to_owned(),
        volume: series.money(series.amount(Transition::Completed)),
        refunds: series.money(series.amount(Transition::Refunded)),
        average: (completed > 0)
            .then(|| series.money(series.amount(Transition::Completed) / i128::from(completed))),
        completed,
        rate: rate_text(rate(completed, failed)),
        width: chart::WIDTH,
        height: chart::HEIGHT,
        ticks: ticks(series, rates),
        volume_grid: money.grid().iter().map(|line| (line.y, series.money(line.value).text)).collect(),
        volume_line: money.line(&volume),
        refunds_line: money.line(&refunds),
        rate_grid: rates.grid().iter().map(|line| (line.y, rate_text(Some(line.value)))).collect(),
        rate_bars: rate_bars(series, rates),
        shares: shares(series.payments(Transition::Created), completed, failed),
        rows: (0..series.days.len()).rev().map(|place| day_row(series, place)).collect(),
    }
}

/// Names of the first, the middle and the last day.
fn ticks(series: &Series, plot: Plot) -> Vec<(i64, String)> {
    let last = series.days.len().saturating_sub(1);
    [0, last / 2, last].map(|place| (plot.middle(place), series.day(place)[5..].to_owned())).into()
}

/// Completed of those that were decided, in thousandths; `None`: none was.
fn rate(completed: i64, failed: i64) -> Option<i128> {
    let decided = i128::from(completed) + i128::from(failed);
    (decided > 0).then(|| i128::from(completed) * RATE_MAX / decided)
}

fn rate_text(rate: Option<i128>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{}.{} %", rate / 10, rate % 10))
}

fn rate_bars(series: &Series, plot: Plot) -> Vec<RateBar> {
    let bars = series.days.iter().enumerate().filter_map(|(place, day)| {
        let payments = |transition: Transition| day[transition.index()].payments;
        let rate = rate(payments(Transition::Completed), payments(Transition::Failed))?;
        let title = format!("{}: {}", series.day(place), rate_text(Some(rate)));
        Some(RateBar { bar: plot.bar(place, rate), title })
    });
    bars.collect()
}

/// What became of payments. Those that were created in the period and decided after it, or before it and decided in it,
/// leave fewer or more than none waiting: then none is shown.
fn shares(created: i64, completed: i64, failed: i64) -> Vec<Share> {
    let waiting = (created - completed - failed).max(0);
    let counts = [completed, failed, waiting];
    let whole = counts.iter().map(|count| i128::from(*count)).sum::<i128>().max(1);
    let names = [("Completed", "s2"), ("Failed", "s4"), ("Waiting", "s3")];
    let places = chart::shares(&counts, chart::WIDTH);
    names
        .into_iter()
        .zip(counts)
        .zip(places)
        .map(|(((name, class), payments), (x, width))| Share {
            name,
            class,
            payments,
            percent: rate_text(Some(i128::from(payments) * RATE_MAX / whole)),
            x,
            width,
        })
        .collect()
}

fn day_row(series: &Series, place: usize) -> DayRow {
    let of = |transition: Transition| series.days[place][transition.index()];
    let (completed, failed) = (of(Transition::Completed), of(Transition::Failed));
    let refunded = of(Transition::Refunded);
    DayRow {
        day: series.day(place),
        created: of(Transition::Created).payments,
        completed: completed.payments,
        volume: series.money(completed.amount_minor),
        failed: failed.payments,
        refunded: refunded.payments,
        refunds: series.money(refunded.amount_minor),
        rate: rate_text(rate(completed.payments, failed.payments)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_DAY: i64 = 20_000;

    fn total(day: i64, code: &str, transition: Transition, payments: i64, amount_minor: i128) -> (Of, Total) {
        let of = Of { day: FIRST_DAY + day, currency: Currency::parse(code).unwrap(), transition };
        (of, Total { payments, amount_minor })
    }

    #[test]
    fn currencies_are_never_summed_and_days_have_no_gaps() {
        let totals = [
            total(0, "USD", Transition::Completed, 2, 300),
            total(2, "EUR", Transition::Completed, 5, 9_000),
            total(6, "USD", Transition::Refunded, 1, 100),
            total(7, "USD", Transition::Created, 1, 1),
        ];
        assert_eq!(currencies(&totals).iter().map(Currency::code).collect::<Vec<_>>(), ["EUR", "USD"]);
        let series = Series::new(&totals, Currency::parse("USD").unwrap(), FIRST_DAY, 7);
        let charts = charts(&series);
        assert_eq!((charts.volume.text.as_str(), charts.refunds.text.as_str()), ("3.00", "1.00"));
        assert_eq!(charts.average.unwrap().text, "1.50");
        assert_eq!((charts.rows.len(), charts.rows[6].day.as_str()), (7, "2024-10-04"));
        assert_eq!(charts.volume_line.points.len(), 7);
        assert_eq!(charts.rate_bars.len(), 1, "no bar where nothing was decided");
    }

    #[test]
    fn a_rate_is_of_what_was_decided() {
        assert_eq!(rate_text(rate(2, 1)), "66.6 %");
        assert_eq!(rate_text(rate(i64::MAX, i64::MAX)), "50.0 %");
        assert_eq!(rate_text(rate(0, 0)), "–");
    }
}
