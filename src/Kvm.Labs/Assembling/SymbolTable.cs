using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Assembling;

/// <summary>Labels and constants: what they stand for in this pass or, of labels that come later, what they stood for in the one before.</summary>
internal sealed class SymbolTable : INames
{
    private readonly Dictionary<string, Expression> _constants = new(StringComparer.Ordinal);
    private readonly HashSet<string> _labels = new(StringComparer.Ordinal);
    private readonly Dictionary<string, bool> _isAddress = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _pure = new(StringComparer.Ordinal);
    private Dictionary<string, long> _before = new(StringComparer.Ordinal);
    private Dictionary<string, long> _now = new(StringComparer.Ordinal);
    private int _depth;
    private bool _changed;

    public SymbolTable(IEnumerable<Statement> statements)
    {
        foreach (var statement in statements)
        {
            if (statement is LabelStatement label)
                _labels.Add(label.Name);
            if (statement is ConstantStatement constant)
                _constants.TryAdd(constant.Name, constant.Value);
        }
    }

    public long Here { get; set; }

    public long Start { get; set; }

    /// <summary>Forgets what the labels were two passes ago.</summary>
    public void BeginPass()
    {
        (_before, _now) = (_now, _before);
        _now.Clear();
        _changed = false;
    }

    /// <summary>True if all names stand for what they stood for in the pass before.</summary>
    public bool EndPass() => !_changed;

    /// <summary>A label is here, or a constant has this value.</summary>
    public void Define(string name, long value, int column)
    {
        if ((_labels.Contains(name) && _constants.ContainsKey(name)) || !_now.TryAdd(name, value))
            throw new SourceException(column, $"'{VisibleText.Escape(name)}' is there already");
        _changed |= !_before.TryGetValue(name, out long before) || before != value;
    }

    public long ValueOf(string name, int column)
    {
        if (_now.TryGetValue(name, out long value) || _before.TryGetValue(name, out value) || _pure.TryGetValue(name, out value))
            return value;
        // In the first pass, what comes further down and depends on addresses is taken to be here.
        if (_labels.Contains(name))
            return Here;
        if (!_constants.TryGetValue(name, out var constant))
            throw new SourceException(column, Unknown(name));
        return IsAddress(name) ? Here : _pure[name] = Nested(name, column, () => constant.Value(this));
    }

    public bool IsAddress(string name)
    {
        if (_labels.Contains(name) || !_constants.TryGetValue(name, out var constant))
            return true;
        if (!_isAddress.TryGetValue(name, out bool address))
            _isAddress[name] = address = Nested(name, constant.Column, () => constant.IsAddress(this));
        return address;
    }

    /// <summary>All names with their values, after the last pass.</summary>
    public Dictionary<string, long> All() => new(_now, StringComparer.Ordinal);

    private T Nested<T>(string name, int column, Func<T> value)
    {
        if (_depth >= AssemblerLimits.Definitions)
            throw new SourceException(column, $"the constant '{VisibleText.Escape(name)}' leads through more than {AssemblerLimits.Definitions} others, or to itself");
        _depth++;
        try
        {
            return value();
        }
        finally
        {
            _depth--;
        }
    }

    private string Unknown(string name)
    {
        string shown = VisibleText.Escape(name);
        return NearestName.Find(name, _labels.Concat(_constants.Keys)) is { } near
            ? $"there is no label or constant '{shown}'; did you mean '{near}'?"
            : $"there is no label or constant '{shown}'";
    }
}
