namespace Kvm.Devices.Net.Policy;

/// <summary>Why a flow may begin or may not.</summary>
/// <param name="Allowed">It may.</param>
/// <param name="Rule">The rule's place in the list, counted from 0; -1 if none was about it.</param>
/// <param name="Reason">A sentence for people.</param>
public sealed record PolicyReason(bool Allowed, int Rule, string Reason);

/// <summary>
/// Rules worked out for the endpoints they are about: for each pair the few rules that can decide, in their order; the first that is about a flow does. Who has the same
/// name and labels as another in the eyes of all rules is of one class with it, so that the tables are small. Immutable but for its counters; any thread.
/// </summary>
public sealed class CompiledPolicy
{
    /// <summary>The most rules.</summary>
    public const int MostRules = 1024;

    /// <summary>Stands for an endpoint nobody described: it has no label, and rules about anybody are about it too.</summary>
    public const int Stranger = -1;

    private readonly PolicyRule[] _rules;
    private readonly PolicyEndpoint[] _endpoints;
    private readonly int[] _classes;
    private readonly int[][] _pairs;
    private readonly int _classCount;
    private readonly bool _allowByDefault;
    private readonly long[] _counts;

    /// <summary>Works the rules out.</summary>
    /// <param name="rules">The rules; the first that is about a flow decides. At most <see cref="MostRules"/>.</param>
    /// <param name="allowByDefault">What becomes of a flow that none is about.</param>
    /// <param name="endpoints">Who there is.</param>
    public CompiledPolicy(IReadOnlyList<PolicyRule> rules, bool allowByDefault, IReadOnlyList<PolicyEndpoint> endpoints)
    {
        ArgumentNullException.ThrowIfNull(rules);
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rules.Count, MostRules, nameof(rules));
        (_rules, _endpoints, _allowByDefault) = ([.. rules], [.. endpoints], allowByDefault);
        _counts = new long[_rules.Length + 1];
        // The stranger is the last of the list.
        var all = _endpoints.Append(new PolicyEndpoint("", [])).ToList();
        var seen = new Dictionary<string, int>();
        var samples = new List<PolicyEndpoint>();
        _classes = [.. all.Select(endpoint =>
        {
            string eyes = string.Concat(_rules.Select(rule => (rule.From.Matches(endpoint) ? 2 : 0) + (rule.To.Matches(endpoint) ? 1 : 0)));
            if (!seen.TryGetValue(eyes, out int number))
            {
                seen[eyes] = number = samples.Count;
                samples.Add(endpoint);
            }

            return number;
        })];
        _classCount = samples.Count;
        _pairs = [.. from source in samples from target in samples select RulesOf(source, target)];
    }

    /// <summary>The rules, in their order.</summary>
    public IReadOnlyList<PolicyRule> Rules => _rules;

    /// <summary>Who there is.</summary>
    public IReadOnlyList<PolicyEndpoint> Endpoints => _endpoints;

    /// <summary>Classes of endpoints that no rule tells apart, the stranger's included.</summary>
    internal int Classes => _classCount;

    /// <summary>Frames a rule has decided, as far as they were decided by this policy; of <see cref="Rules"/>' count, those that none was about.</summary>
    public long Count(int rule) => Volatile.Read(ref _counts[rule < 0 ? _rules.Length : rule]);

    /// <summary>Decides.</summary>
    /// <param name="from">Who begins: a place in <see cref="Endpoints"/>, or <see cref="Stranger"/>.</param>
    /// <param name="to">With whom.</param>
    /// <param name="protocol">The number of the protocol above IP.</param>
    /// <param name="port">The receiver's port.</param>
    /// <returns>The rule that decides, or -1 if none is about it.</returns>
    public int Find(int from, int to, byte protocol, ushort port)
    {
        foreach (int rule in Pair(from, to))
        {
            if (_rules[rule].MatchesPorts(protocol, port))
                return rule;
        }

        return -1;
    }

    /// <summary>True if a rule that decided, or none, allows.</summary>
    public bool Allows(int rule) => rule < 0 ? _allowByDefault : _rules[rule].Allow;

    /// <summary>The rule that decides whatever is sent, or null if it depends on what it is: -1 is none.</summary>
    internal int? Always(int from, int to)
    {
        var pair = Pair(from, to);
        if (pair.Length == 0)
            return -1;
        return _rules[pair[0]].Ports.Count == 0 ? pair[0] : null;
    }

    /// <summary>True if all is allowed both ways between two, or nothing.</summary>
    internal bool IsSame(int from, int to) => Always(from, to) is { } there && Always(to, from) is { } back && Allows(there) == Allows(back);

    /// <summary>True if one may send anything at all to the other: then it may find out where the other is.</summary>
    internal bool MaySend(int from, int to)
    {
        foreach (int rule in Pair(from, to))
        {
            if (_rules[rule].Allow)
                return true;
            if (_rules[rule].Ports.Count == 0)
                return false;
        }

        return _allowByDefault;
    }

    /// <summary>Says which rule decides and why.</summary>
    /// <param name="from">The name of who begins.</param>
    /// <param name="to">The name of the other.</param>
    /// <param name="protocol">The number of the protocol above IP.</param>
    /// <param name="port">The receiver's port; 0 where there are none.</param>
    /// <returns>The reason, or null if one of the names is nobody's.</returns>
    public PolicyReason? Why(string from, string to, byte protocol, ushort port)
    {
        int source = Array.FindIndex(_endpoints, endpoint => endpoint.Name == from), target = Array.FindIndex(_endpoints, endpoint => endpoint.Name == to);
        if (source < 0 || target < 0)
            return null;
        int rule = Find(source, target, protocol, port);
        string flow = $"{from} to {to} by {PortRange.NameOf(protocol)}{(port == 0 ? "" : $"/{port}")}";
        if (rule < 0)
        {
            string all = _rules.Length == 0 ? "there is no rule" : $"none of {_rules.Length} rules is about it";
            return new PolicyReason(_allowByDefault, rule, $"{flow}: {all}, and the default is {(_allowByDefault ? "allow" : "deny")}");
        }

        string who = $"{Because(_endpoints[source], _rules[rule].From)}, {Because(_endpoints[target], _rules[rule].To)}";
        return new PolicyReason(_rules[rule].Allow, rule, $"{flow}: rule {rule + 1}, '{_rules[rule]}', is the first about it: {who}");
    }

    internal void Counted(int rule) => Interlocked.Increment(ref _counts[rule < 0 ? _rules.Length : rule]);

    /// <summary>Goes on from the counters of an older policy, rule by rule as far as they are the same.</summary>
    internal void CountOnFrom(CompiledPolicy older)
    {
        for (int i = 0; i < _rules.Length; i++)
        {
            string text = _rules[i].ToString();
            int same = Array.FindIndex(older._rules, rule => rule.ToString() == text);
            if (same >= 0)
                Interlocked.Add(ref _counts[i], older.Count(same));
        }

        Interlocked.Add(ref _counts[^1], older.Count(-1));
    }

    private static string Because(PolicyEndpoint endpoint, EndpointSelector selector) => selector.Kind switch
    {
        SelectorKind.Label => $"{endpoint.Name} has the label {selector.Value}",
        SelectorKind.Any => $"{endpoint.Name} is anybody",
        _ => $"{endpoint.Name} is named",
    };

    private int[] RulesOf(PolicyEndpoint from, PolicyEndpoint to)
    {
        var rules = new List<int>();
        for (int i = 0; i < _rules.Length; i++)
        {
            if (!_rules[i].From.Matches(from) || !_rules[i].To.Matches(to))
                continue;
            rules.Add(i);
            // Behind a rule about everything no other has a say.
            if (_rules[i].Ports.Count == 0)
                break;
        }

        return [.. rules];
    }

    private int[] Pair(int from, int to) => _pairs[ClassOf(from) * _classCount + ClassOf(to)];

    private int ClassOf(int endpoint) => _classes[(uint)endpoint < (uint)_endpoints.Length ? endpoint : ^1];
}
