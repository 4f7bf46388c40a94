using System.Text.Json;
using Kvm.Vmm.Reporting;

namespace Kvm.Vmm.Tests.Reporting;

public class ReportJsonTests
{
    private static RunResult Result(VmOutcome outcome) => new() { Outcome = outcome, Engine = "kvm", HostBackend = "svm" };

    private static JsonElement Json(RunReport report) => JsonDocument.Parse(ReportJson.ToText(report)).RootElement;

    [Fact]
    public void Every_member_of_the_contract_is_there_with_its_value()
    {
        var json = Json(new RunReport
        {
            Name = "web",
            CommandLine = "console=ttyS0",
            ConsoleWrittenBytes = 11,
            ConsoleLostBytes = 3,
            Changes = [new Kvm.Vmm.Snapshots.Templates.CloneChange("name", "t", "web")],
            Result = Result(VmOutcome.DebugExit) with
            {
                DebugExitValue = 7,
                Explanation = "line \x1b[1m one\nline two",
                FirstRun = TimeSpan.FromTicks(123_456),
                Ready = TimeSpan.FromSeconds(1.5),
                ReadyCpu = TimeSpan.FromMilliseconds(900),
                Total = TimeSpan.FromSeconds(2),
                Exits = new Dictionary<string, long> { ["io"] = 5 },
                ExitDetails = new ExitDetailReport
                {
                    Accesses = [new AccessReport("io", 0x3f8, true, 4, "COM1_DATA"), new AccessReport("mmio", 0xd000_0000, false, 1, null)],
                    OtherAccesses = 3,
                    Latencies = new Dictionary<string, LatencyReport> { ["io"] = new(2, 500, 400, 600, 700, 701) },
                },
                Completions = new Dictionary<string, long> { ["popcnt"] = 2 },
                Vcpus = [new VcpuReport(0, TimeSpan.FromMilliseconds(3), 5, 0, 99) { Waited = TimeSpan.FromMilliseconds(12.5), Reasons = new Dictionary<string, long> { ["io"] = 5 } }, new VcpuReport(1, default, 1, 8)],
                Determinism = new DeterminismReport(5, 99, TimeSpan.FromTicks(12_500), "xxh64:0123456789abcdef"),
                Paging = new PagingReport(3, new Kvm.X86.Paging.ShadowStatistics { Fills = 2, Hits = 1, Roots = 1, Tables = 4 }),
                VmmRssBytes = 1000,
                GuestResidentBytes = 2000,
                Devices = new Dictionary<string, IReadOnlyDictionary<string, long>> { ["serial0"] = new Dictionary<string, long> { ["bytesFromGuest"] = 11 } },
            },
        });
        json.GetRawText().ReplaceLineEndings("\n").Should().Be("""
            {
              "outcome": "debug-exit",
              "exitCode": 27,
              "explanation": "line \\x1b[1m one\nline two",
              "error": null,
              "debugExitValue": 7,
              "signal": null,
              "name": "web",
              "engine": "kvm",
              "hostBackend": "svm",
              "commandLine": "console=ttyS0",
              "changes": [
                {
                  "what": "name",
                  "from": "t",
                  "to": "web"
                }
              ],
              "timings": {
                "firstRunMs": 12.346,
                "readyMs": 1500,
                "readyCpuMs": 900,
                "totalMs": 2000
              },
              "exits": {
                "io": 5
              },
              "exitDetails": {
                "accesses": [
                  {
                    "reason": "io",
                    "address": "0x3f8",
                    "write": true,
                    "count": 4,
                    "name": "COM1_DATA"
                  },
                  {
                    "reason": "mmio",
                    "address": "0xd0000000",
                    "write": false,
                    "count": 1,
                    "name": null
                  }
                ],
                "otherAccesses": 3,
                "latency": {
                  "io": {
                    "samples": 2,
                    "meanNs": 500,
                    "p50Ns": 400,
                    "p90Ns": 600,
                    "p99Ns": 700,
                    "maxNs": 701
                  }
                }
              },
              "completions": {
                "popcnt": 2
              },
              "vcpus": [
                {
                  "index": 0,
                  "runMs": 3,
                  "exits": 5,
                  "allocatedBytes": 0,
                  "instructions": 99,
                  "waitedMs": 12.5,
                  "reasons": {
                    "io": 5
                  }
                },
                {
                  "index": 1,
                  "runMs": 0,
                  "exits": 1,
                  "allocatedBytes": 8,
                  "instructions": null,
                  "waitedMs": null,
                  "reasons": {}
                }
              ],
              "deterministic": {
                "seed": 5,
                "instructions": 99,
                "guestMs": 1.25,
                "memoryHash": "xxh64:0123456789abcdef"
              },
              "paging": {
                "mode": "shadow",
                "walks": 3,
                "shadow": {
                  "fills": 2,
                  "hits": 1,
                  "syncs": 0,
                  "dropped": 0,
                  "writeProtectHits": 0,
                  "floods": 0,
                  "roots": 1,
                  "rootHits": 0,
                  "evictions": 0,
                  "tables": 4
                }
              },
              "memory": {
                "vmmRssBytes": 1000,
                "guestResidentBytes": 2000
              },
              "devices": {
                "serial0": {
                  "bytesFromGuest": 11
                }
              },
              "console": {
                "writtenBytes": 11,
                "lostBytes": 3
              }
            }
            """.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void An_error_before_the_guest_ran_has_its_own_exit_code_and_words()
    {
        var json = Json(new RunReport
        {
            Name = "guest",
            Result = Result(VmOutcome.Error),
            Error = new VmmException(UsageErrors.ConfigUnreadable, "'\x1b': no such file"),
        });
        json.GetProperty("outcome").GetString().Should().Be("error");
        json.GetProperty("changes").ValueKind.Should().Be(JsonValueKind.Null);
        json.GetProperty("exitCode").GetInt32().Should().Be(ExitCode.BadInput);
        json.GetProperty("error").GetProperty("id").GetString().Should().Be("KVM0020");
        json.GetProperty("error").GetProperty("detail").GetString().Should().Be("'\\x1b': no such file");
    }

    [Fact]
    public void Every_outcome_has_the_name_of_the_contract() =>
        Enum.GetValues<VmOutcome>().Select(ReportJson.NameOf).Should().BeEquivalentTo(
            "poweroff", "reboot", "halted", "panic", "triple-fault", "kvm-failed", "timeout", "watchdog", "hung", "unhealthy", "debug-exit", "stopped-by-user", "signalled", "error");

    [Fact]
    public void An_outcome_that_is_an_error_exits_with_the_error_s_code()
    {
        foreach (var outcome in Enum.GetValues<VmOutcome>())
        {
            if (OutcomeErrors.For(outcome) is { } error)
                error.ExitCode.Should().Be(Result(outcome).ExitCode, outcome.ToString());
            else
                Result(outcome).ExitCode.Should().BeOneOf(0, 143);
        }
    }
}
