using BenchmarkDotNet.Attributes;
using Kvm.Devices.Net.Policy;

namespace Kvm.Benchmarks;

/// <summary>What it costs to decide about one frame between two machines of a network: parsed, its flow looked up, counted.</summary>
[MemoryDiagnoser]
public class PolicyBenchmarks
{
    private const int Web = 1, Db = 2;

    private readonly byte[] _segment = Segment(40_000, 0x10), _fragment = Segment(40_000, 0x10);
    private readonly byte[][] _flows = [.. Enumerable.Range(0, 1024).Select(i => Segment(1024 + i, 0x10))];
    private FlowPolicy _policy = null!, _open = null!;
    private int _next;

    /// <summary>A hundred rules of which the last allows, and none.</summary>
    [GlobalSetup]
    public void Make()
    {
        var endpoints = (PolicyEndpoint[])[new("web", ["web"]), new("db", ["db"]), new("uplink", [], IsUplink: true)];
        List<PolicyRule> rules = [.. Enumerable.Range(1, 99).Select(i => Rule($"deny from label=web to label=db udp/{i}")), Rule("allow from label=web to label=db tcp/5432")];
        _policy = new FlowPolicy(new CompiledPolicy(rules, false, endpoints), new FlowTable(TimeProvider.System));
        _open = new FlowPolicy(new CompiledPolicy([], true, endpoints), new FlowTable(TimeProvider.System));
        foreach (var policy in (FlowPolicy[])[_policy, _open])
        {
            policy.Bind(Web, "web");
            policy.Bind(Db, "db");
        }

        // 14 bytes of Ethernet and 6 more: IPv4 says that more fragments follow.
        _fragment[20] = 0x20;
    }

    /// <summary>A segment of a flow that is known.</summary>
    [Benchmark(Baseline = true)]
    public bool Known() => _policy.Allows(Web, Db, _segment);

    /// <summary>One of a thousand flows.</summary>
    [Benchmark]
    public bool OneOfMany() => _policy.Allows(Web, Db, _flows[_next++ & 1023]);

    /// <summary>Where all is allowed there is nothing to remember.</summary>
    [Benchmark]
    public bool Open() => _open.Allows(Web, Db, _segment);

    /// <summary>What is refused because of what it is.</summary>
    [Benchmark]
    public bool Refused() => _policy.Allows(Web, Db, _fragment);

    private static PolicyRule Rule(string text) => PolicyRule.Parse(text, out var rule) is null ? rule : throw new ArgumentException(text);

    /// <summary>Ethernet, IPv4 from 10.0.0.1 to 10.0.0.2, TCP to port 5432.</summary>
    private static byte[] Segment(int port, byte flags) =>
    [
        .. new byte[12], 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, (byte)(port >> 8), (byte)port, 0x15, 0x38, .. new byte[8], 0x50, flags, .. new byte[6],
    ];
}
