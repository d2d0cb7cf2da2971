//! A picture: memory, descriptors, disk, and the slowest one in a thousand, over the time.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::watch::Sample;

const SIZE: (u32, u32) = (900, 880);
/// What a row shows of a sample.
type Number = fn(&Sample) -> f64;
const FONT: &str = "sans-serif";

pub(crate) fn draw(path: &Path, samples: &[Sample]) -> Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let rows: [(&str, Number); 4] = [
        ("the most memory of a process, MiB", |it| it.memory_kib as f64 / 1024.0),
        ("the most descriptors of a process", |it| it.descriptors as f64),
        ("disk, MiB", |it| it.disk_bytes as f64 / f64::from(1 << 20)),
        ("one operation in a thousand takes longer than, ms", |it| it.high_us as f64 / 1000.0),
    ];
    let last = samples.last().map_or(1.0, |it| it.time.as_secs_f64());
    for (part, (title, of)) in area.split_evenly((4, 1)).iter().zip(rows) {
        let most = samples.iter().map(of).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(part)
            .caption(title, (FONT, 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..last, 0.0..1.1 * most)?;
        chart.configure_mesh().x_desc("seconds").draw()?;
        let points = samples.iter().map(|it| (it.time.as_secs_f64(), of(it)));
        chart.draw_series(LineSeries::new(points, &BLUE))?;
    }
    area.present()?;
    Ok(())
}
