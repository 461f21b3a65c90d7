//! Charts as SVG that the templates write out: coordinates only, in whole numbers; what they mean stands in a table beside.

/// The drawing in its own units; it is scaled to the width of the page.
pub const WIDTH: i64 = 760;
pub const HEIGHT: i64 = 220;
/// Room for what is written along the axes.
const LEFT: i64 = 110;
const RIGHT: i64 = 10;
const TOP: i64 = 12;
const BOTTOM: i64 = 24;
const GRID_LINES: i64 = 4;

/// A line of the grid, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridLine {
    pub y: i64,
    pub value: i128,
}

/// A series of values, one for each place along the axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The `d` of a path (SVG 2, §9.3).
    pub path: String,
    /// The points, each with its place in the series: one that stands alone has no line.
    pub points: Vec<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub height: i64,
}

/// Values from 0 to `max` over `places`.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub places: usize,
    pub max: i128,
}

impl Plot {
    pub fn new(places: usize, values: impl Iterator<Item = i128>) -> Self {
        Self { places: places.max(1), max: values.max().unwrap_or(0).max(1) }
    }

    pub fn grid(self) -> Vec<GridLine> {
        let line = |number: i64| {
            let value = self.max * i128::from(number) / i128::from(GRID_LINES);
            GridLine { y: self.y(value), value }
        };
        (0..=GRID_LINES).map(line).collect()
    }

    pub fn line(self, values: &[i128]) -> Line {
        let points: Vec<(i64, i64)> =
            values.iter().enumerate().map(|(place, value)| (self.middle(place), self.y(*value))).collect();
        let steps: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let path = if steps.is_empty() { String::new() } else { format!("M{}", steps.join(" L")) };
        Line { path, points }
    }

    pub fn bar(self, place: usize, value: i128) -> Bar {
        let (left, right) = (self.x(place), self.x(place + 1));
        let gap = if right - left > 4 { 2 } else { 0 };
        let y = self.y(value);
        Bar { x: left, y, width: (right - left - gap).max(1), height: HEIGHT - BOTTOM - y }
    }

    /// Where a place's name is written.
    pub fn middle(self, place: usize) -> i64 {
        i64::midpoint(self.x(place), self.x(place + 1))
    }

    fn x(self, place: usize) -> i64 {
        let (place, places) = (whole(place), whole(self.places));
        LEFT + (WIDTH - LEFT - RIGHT) * place / places
    }

    fn y(self, value: i128) -> i64 {
        let height = i128::from(HEIGHT - TOP - BOTTOM);
        let up = value.clamp(0, self.max).saturating_mul(height) / self.max;
        HEIGHT - BOTTOM - i64::try_from(up).unwrap_or(0)
    }
}

/// Shares of a whole side by side: of each where it begins, and how wide it is.
pub fn shares(counts: &[i64], width: i64) -> Vec<(i64, i64)> {
    let whole: i128 = counts.iter().map(|count| i128::from(*count)).sum::<i128>().max(1);
    let mut sum = 0_i128;
    let mut begin = 0;
    let mut shares = Vec::with_capacity(counts.len());
    for count in counts {
        sum += i128::from(*count);
        let end = i64::try_from(i128::from(width) * sum / whole).unwrap_or(width);
        shares.push((begin, end - begin));
        begin = end;
    }
    shares
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_the_bottom_for_zero_to_the_top_for_the_greatest() {
        let values = [0, 50, 100];
        let plot = Plot::new(values.len(), values.into_iter());
        let line = plot.line(&values);
        let ys: Vec<i64> = line.points.iter().map(|(_, y)| *y).collect();
        assert_eq!(ys, [HEIGHT - BOTTOM, i64::midpoint(HEIGHT - BOTTOM, TOP), TOP]);
        assert!(line.path.starts_with('M') && line.path.matches('L').count() == 2);
        assert!(line.points.iter().all(|(x, _)| (LEFT..=WIDTH).contains(x)));
        let grid = plot.grid();
        assert_eq!((grid[0].value, grid[4].value, grid[4].y), (0, 100, TOP));
    }

    #[test]
    fn values_beyond_64_bits_and_none_at_all_stay_within_the_drawing() {
        let most = i128::from(i64::MAX) * 1_000_000;
        let plot = Plot::new(2, [most, 0].into_iter());
        assert_eq!(
            plot.line(&[most, 0]).points.iter().map(|(_, y)| *y).collect::<Vec<_>>(),
            [TOP, HEIGHT - BOTTOM]
        );
        let nothing = Plot::new(0, std::iter::empty());
        assert_eq!(nothing.bar(0, 0).height, 0);
    }

    #[test]
    fn bars_touch_the_bottom_and_lie_side_by_side() {
        let plot = Plot { places: 90, max: 1000 };
        let bars: Vec<Bar> = (0..90).map(|place| plot.bar(place, 500)).collect();
        assert!(bars.iter().all(|bar| bar.y + bar.height == HEIGHT - BOTTOM && bar.width >= 1));
        assert!(bars.windows(2).all(|pair| pair[0].x + pair[0].width <= pair[1].x));
    }

    #[test]
    fn shares_fill_the_whole() {
        assert_eq!(shares(&[1, 1, 2], 400), [(0, 100), (100, 100), (200, 200)]);
        assert_eq!(shares(&[0, 0], 400), [(0, 0), (0, 0)]);
        let thirds = shares(&[1, 1, 1], 100);
        assert_eq!(thirds.iter().map(|(_, width)| width).sum::<i64>(), 100);
    }
}
