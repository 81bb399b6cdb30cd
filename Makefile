.DEFAULT_GOAL := help
.PHONY: help test test-deploy check tools demo bench bench-scale bench-peers bench-web fuzz soak dist reproducible chart dashboards fmt clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Everything that CI checks; installs the tools first
	@scripts/test

test-deploy: ## Only the tests that boot a machine, run containers or need a cluster, as root
	@scripts/test --deploy

check: ## The fast part: formatting, lints, unit tests
	@scripts/test --fast

tools: ## Install the test tools into a cache
	@scripts/tools

demo: ## Exporter, Prometheus and Alertmanager with a demo account, until Ctrl-C
	@scripts/demo

bench: ## Benchmarks
	@benches/run

bench-scale: ## Benchmarks of an organisation of 1,000 accounts, and the comparison with Prowler and Cloud Custodian
	@benches/run scale peers

bench-peers: ## Only the comparison with Prowler and Cloud Custodian
	@benches/run peers

bench-web: ## Scrapes while 1,000 idle and 200 slow clients hold connections
	@benches/run web

fuzz: ## Fuzz targets, 10 million executions each (hours; a nightly compiler and cargo-fuzz)
	@scripts/fuzz

soak: ## 10,000 checks with faults sprinkled in: memory and file descriptors stay flat
	@SOAK_CHECKS=$${SOAK_CHECKS:-10000} cargo test --locked --test e2e soak:: -- --nocapture

dist: ## Everything of a release that can be built here, into dist/
	@scripts/dist

reproducible: ## Build the release twice, in different places, and compare the programs
	@scripts/reproducible

chart: ## Link rules and dashboards into the Helm chart, write its README
	@scripts/chart

dashboards: ## Generate the Grafana dashboards
	@scripts/dashboards

fmt: ## Format the Rust code
	@cargo fmt

clean: ## Remove build results (the tools stay in their cache)
	@cargo clean
	@rm -rf dist
