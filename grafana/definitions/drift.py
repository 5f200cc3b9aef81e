"""The dashboard that asks: do inputs and answers still look like the reference profile."""

from grafana.model import Dashboard, Panel, Row, Target

_NOW = Row(
    "Now",
    (
        Panel(
            "Worst input",
            "stat",
            "none",
            "PSI over a day of the input that differs most, of those with more than 500 rows. Above 0.2 and three times its noise it alerts.",
            (
                Target(
                    'max(job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"} and job_model_version_feature:inferometer_feature_rows:1d{RV} > 500) or on () MARK',
                    "PSI",
                    "*x*x!",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "Rows judged",
            "stat",
            "short",
            "Below 500 nothing is judged.",
            (
                Target(
                    "min by (model, version) (job_model_version_feature:inferometer_feature_rows:1d{RV}) or on () MARK",
                    "{{model}} {{version}}",
                    "v0vvv",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "Reference profile",
            "table",
            "none",
            "Two hashes for one version: figures are wrong; refused: why it is not used.",
            (
                Target(
                    "count by (model, version, sha256, created) (inferometer_reference_info{S})",
                    "in use",
                    "vvv--",
                ),
                Target("max by (model, version) (inferometer_reference_rows{S})", "rows", "vvv--"),
                Target(
                    "max by (model, version, reason) (inferometer_reference_refused{S}) == 1",
                    "refused",
                    "-----",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "Inputs",
            "table",
            "none",
            "Opens the input below.",
            (
                Target(
                    "job_model_version_feature:inferometer_psi:1d{RV}", "PSI", "v-v--", unit="none"
                ),
                Target(
                    "job_model_version_feature:inferometer_psi_noise:1d{RV}",
                    "noise",
                    "v-v--",
                    unit="none",
                ),
                Target(
                    "job_model_version_feature:inferometer_feature_invalid:ratio5m{RV}",
                    "invalid",
                    "v-vvv",
                    unit="percentunit",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
            link="drift",
            linked=("model", "version", "feature"),
            sorted_by="PSI",
        ),
    ),
)

_OVER_TIME = Row(
    "Over time",
    (
        Panel(
            "PSI of inputs",
            "timeseries",
            "none",
            "Ten worst, over a day. Those with 500 rows at most, of which much is noise, only where there is room.",
            (
                Target(
                    'job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"} and topk(10, max_over_time(job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"}[$__range] @ end()) and max_over_time(job_model_version_feature:inferometer_feature_rows:1d{RV}[$__range] @ end()) > 500 or 0 * max_over_time(job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"}[$__range] @ end()))',
                    "{{model}} {{version}} {{feature}}",
                    "v-vv-",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "PSI of predictions and scores",
            "timeseries",
            "none",
            "The model answers differently.",
            (
                Target(
                    'job_model_version_feature:inferometer_psi:1d{RV, feature=~"__.*"} and topk(20, max_over_time(job_model_version_feature:inferometer_psi:1d{RV, feature=~"__.*"}[$__range] @ end()))',
                    "{{model}} {{version}} {{feature}}",
                    "v-vv-",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "PSI over three times its noise",
            "timeseries",
            "none",
            "Below 1 it may be chance.",
            (
                Target(
                    "job_model_version_feature:inferometer_psi:1d{RV} / (3 * job_model_version_feature:inferometer_psi_noise:1d{RV}) and topk(10, last_over_time(job_model_version_feature:inferometer_psi:1d{RV}[$__range] @ end()) / (3 * last_over_time(job_model_version_feature:inferometer_psi_noise:1d{RV}[$__range] @ end())))",
                    "{{model}} {{version}} {{feature}}",
                    "v-vv-",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
        Panel(
            "State of inputs",
            "status history",
            "none",
            "By PSI alone: orange from 0.1, red from 0.2. With few rows that is noise; see PSI over three times its noise.",
            (
                Target(
                    'max by (model, feature) (job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"}) and topk(20, max by (model, feature) (max_over_time(job_model_version_feature:inferometer_psi:1d{RV, feature!~"__.*"}[$__range] @ end())))',
                    "{{model}} {{feature}}",
                    "v-vv-",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
            thresholds=((0.1, "orange"), (0.2, "red")),
        ),
    ),
)

_ONE_WINDOW = Row(
    "One window",
    (
        Panel(
            "PSI over $window",
            "bar gauge",
            "none",
            "From raw counters, for any window.",
            (
                Target(
                    "topk(20, fig(psi))",
                    "{{model}} {{version}} {{feature}}",
                    "v-v--",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
            thresholds=((0.1, "orange"), (0.2, "red")),
        ),
        Panel(
            "Other distances over $window",
            "table",
            "none",
            "Jensen-Shannon (base 2), total variation, chi-squared.",
            (
                Target(
                    "fig(js)",
                    "Jensen-Shannon",
                    "v-v--",
                ),
                Target(
                    "fig(total_variation)",
                    "total variation",
                    "v-v--",
                ),
                Target(
                    "fig(chi2)",
                    "chi-squared",
                    "v-v--",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
            sorted_by="Jensen-Shannon",
        ),
        Panel(
            "Shares of $feature",
            "bar chart",
            "percentunit",
            "Now and in the profile. Choose one model and version: of several each bin is there as often.",
            (
                Target(
                    'sum by (model, version, bin) (increase(inferometer_feature_bin_total{S, feature="$feature"}[W])) / on (model, version) group_left () (sum by (model, version) (increase(inferometer_feature_bin_total{S, feature="$feature"}[W])) > 0)',
                    "now",
                    "v-vv-",
                ),
                Target(
                    'max by (model, version, bin) (inferometer_reference_bin_share{S, feature="$feature"})',
                    "profile",
                    "vvv--",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
    ),
)

_HEALTH = Row(
    "Health",
    (
        Panel(
            "Invalid values by reason",
            "timeseries",
            "cps",
            "Values per second. A pipeline that broke shows here first.",
            (
                Target(
                    "sum by (reason) (rate(inferometer_feature_invalid_total{S}[RI]))",
                    "{{reason}}",
                    "v0vv-",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
            is_stacked=True,
        ),
        Panel(
            "Inputs most often invalid",
            "timeseries",
            "percentunit",
            "Values that are missing, not finite, out of range or unseen, as a share of the rows.",
            (
                Target(
                    "job_model_version_feature:inferometer_feature_invalid:ratio5m{RV} and topk(10, max_over_time(job_model_version_feature:inferometer_feature_invalid:ratio5m{RV}[$__range] @ end()))",
                    "{{model}} {{version}} {{feature}}",
                    "v-vvv",
                ),
            ),
            absent="no row yet, no runner, or no reference profile: inferometer profile makes one",
        ),
    ),
)

DRIFT = Dashboard(
    "drift",
    "Inferometer: drift",
    "Do inputs and answers still look like the reference profile?",
    (_NOW, _OVER_TIME, _ONE_WINDOW, _HEALTH),
    variables=("job", "instance", "model", "version", "window", "feature", "filters"),
)
