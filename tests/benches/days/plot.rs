//! Draws the samples as a chart.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Sample, disk};

/// A line of a chart: its label, its colour, its value in a sample.
type Line = (&'static str, RGBColor, fn(&Sample) -> f64);

/// Draws memory, disk use and live records over the days.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn write(file: &Path, samples: &[Sample]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (960, 900)).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((3, 1));
    let disk_lines: &[Line] = &[
        ("disk", BLACK, disk),
        ("views", BLUE, |s| s.views),
        ("log", RED, |s| s.log),
        ("checkpoints", GREEN, |s| s.checkpoints),
    ];
    let memory: &[Line] = &[("RSS of the whole process", BLACK, |s| s.memory)];
    let records: &[Line] = &[("live records", BLACK, |s| s.live_records / 1e3)];
    chart(&parts[0], "memory, MB", memory, samples)?;
    chart(&parts[1], "disk, MB", disk_lines, samples)?;
    chart(&parts[2], "live records, thousands", records, samples)?;
    area.present()?;
    Ok(())
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lines: &[Line],
    samples: &[Sample],
) -> Result<(), Box<dyn std::error::Error>> {
    let all = lines.iter().flat_map(|(_, _, of)| samples.iter().map(of));
    let top = all.fold(1.0, f64::max) * 1.1;
    let days = samples.last().map_or(1.0, |s| s.days);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..days, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("simulated days").max_light_lines(0).draw()?;
    for &(name, colour, of) in lines {
        let points = samples.iter().map(|s| (s.days, of(s)));
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}
