//! A picture: how many workers were making the page, over the time.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::strategy::Strategy;
use crate::visits::Visits;

const SIZE: (u32, u32) = (900, 300);
const FONT: &str = "sans-serif";

pub(crate) fn draw(path: &Path, strategy: Strategy, visits: &Visits) -> Result<()> {
    let steps = visits.steps();
    // The same for all strategies, so that the pictures can be compared.
    let last = visits.watched.as_secs_f64();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}: workers that make the page", strategy.name()), (FONT, 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..last, 0..u32::from(visits.workers) + 1)?;
    chart.configure_mesh().x_desc("seconds").y_desc("at once").max_light_lines(1).draw()?;
    // Between two changes nothing changes: a line of corners.
    let mut before = 0;
    let corners = steps.into_iter().flat_map(|(time, count)| {
        let time = time.as_secs_f64();
        [(time, std::mem::replace(&mut before, count)), (time, count)]
    });
    let corners = std::iter::once((0.0, 0)).chain(corners).chain([(last, 0)]);
    // What is begun in time ends a little later: that is left out.
    let corners = corners.filter(|(time, _)| *time <= last);
    chart.draw_series(AreaSeries::new(corners, 0, BLUE.mix(0.2)).border_style(BLUE))?;
    area.present()?;
    Ok(())
}
