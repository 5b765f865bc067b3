//! Small plots as SVG.

use maud::{Markup, html};

/// The size of the coordinates.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// A plot of these values, the oldest first; gaps where there is none. `most` is the value at its top; `title` says
/// what it shows, also to who cannot see it.
pub(super) fn bars(values: &[Option<f64>], most: f64, title: &str, class: &str) -> Markup {
    let step = WIDTH / values.len().max(1) as f64;
    let bars = values.iter().enumerate().filter_map(|(at, value)| {
        let share = (value.as_ref()? / most).clamp(0.0, 1.0);
        // What is small and not nothing can be seen.
        let height = if share > 0.0 { (share * HEIGHT).max(1.5) } else { 0.0 };
        Some((at as f64 * step, HEIGHT - height, height))
    });
    html! {
        svg.plot.(class) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" {
            title { (title) }
            line.axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
            @for (x, y, height) in bars {
                @if height > 0.0 {
                    rect x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{:.1}", step * 0.8)) height=(format!("{height:.1}")) {}
                }
            }
        }
    }
}
