//! A picture: how many workers were making the page, over the time.

use std::path::Path;
use std::time::Duration;

use plotters::prelude::*;

use crate::Result;
use crate::strategy::Strategy;
use crate::visits::Visits;

const SIZE: (u32, u32) = (900, 300);
const FONT: &str = "sans-serif";

pub(crate) fn draw(path: &Path, strategy: Strategy, visits: &Visits) -> Result<()> {
    let steps = visits.steps();
    let last = steps.last().map_or(Duration::from_secs(1), |(time, _)| *time).as_secs_f64();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}: workers that make the page", strategy.name()), (FONT, 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..last, 0..u32::from(visits.workers) + 1)?;
    chart.configure_mesh().x_desc("seconds").y_desc("at once").draw()?;
    // Between two changes nothing changes: a line of corners.
    let mut before = 0;
    let corners = steps.into_iter().flat_map(|(time, count)| {
        let time = time.as_secs_f64();
        [(time, std::mem::replace(&mut before, count)), (time, count)]
    });
    chart.draw_series(LineSeries::new(std::iter::once((0.0, 0)).chain(corners), &BLUE))?;
    area.present()?;
    Ok(())
}
