using System.Text.Json;
using Kvm.Vmm.Network;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Configuration;

/// <summary>Reads one configuration file, member by member, and says of every mistake where it stands.</summary>
internal ref partial struct ConfigParser
{
    private readonly ReadOnlySpan<byte> _text;
    private readonly string _file;
    private Utf8JsonReader _json;
    private VmConfig _machine;
    private RunSettings _settings;

    public ConfigParser(ReadOnlySpan<byte> utf8, string file, RunSettings? basis = null)
    {
        // Some editors begin a file with a byte order mark; RFC 8259, 8.1 allows to ignore it.
        _text = utf8.StartsWith("\uFEFF"u8) ? utf8[3..] : utf8;
        _file = file;
        _json = new Utf8JsonReader(_text, new JsonReaderOptions { MaxDepth = ConfigFile.MaxDepth });
        _settings = basis ?? new RunSettings { Machine = new VmConfig { KernelPath = "" } };
        _machine = _settings.Machine;
    }

    public RunSettings Parse()
    {
        Read(null);
        if (_machine.KernelPath.Length == 0)
            return _settings;
        var problems = _machine.Validate();
        return problems.Count == 0 ? _settings : throw new VmmException(UsageErrors.ConfigBadValue, $"{VisibleText.Quote(_file)}: {problems[0]}");
    }

    /// <summary>Reads the text as one member's value alone; of a list, as an element. The machine as a whole is not judged.</summary>
    public RunSettings ParseMember(string member)
    {
        Read(member);
        return _settings;
    }

    /// <summary>Reads all of the text: the value of a member, or of null the whole file.</summary>
    private void Read(string? member)
    {
        try
        {
            _json.Read();
            if (member is null)
                ReadTop();
            else
                ReadAlone(member);
            // Anything but white space after the value is refused by the reader.
            _json.Read();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: half of a surrogate pair in a text, which the tokenizer lets pass.
            throw NotJson(e);
        }

        _settings = _settings with { Machine = _machine };
    }

    private void ReadAlone(string member)
    {
        switch (member)
        {
            case ConfigMembers.Drives:
                var disk = ReadDrive();
                _machine = _machine with { Disks = WithElement(_machine.Disks, disk, d => d.Id == disk.Id) };
                break;
            case ConfigMembers.NetworkInterfaces:
                var card = ReadNetworkInterface();
                _machine = _machine with { Networks = WithElement(_machine.Networks, card, n => n.Id == card.Id) };
                break;
            default:
                ReadMember(member);
                break;
        }
    }

    /// <summary>A list with an element in the place of the one it replaces, or at its end.</summary>
    private static List<T> WithElement<T>(IReadOnlyList<T> list, T element, Predicate<T> replaces)
    {
        List<T> elements = [.. list];
        int place = elements.FindIndex(replaces);
        if (place < 0)
            elements.Add(element);
        else
            elements[place] = element;
        return elements;
    }

    private void ReadTop()
    {
        ExpectObject("the file");
        var seen = 0u;
        while (NextMember(ConfigMembers.Top, "the file", ref seen) is { } member)
            ReadMember(member);
    }

    private void ReadMember(string member)
    {
        switch (member)
        {
            case ConfigMembers.BootSource:
                ReadBootSource();
                break;
            case ConfigMembers.MachineConfig:
                ReadMachineConfig();
                break;
            case ConfigMembers.Run:
                ReadRun();
                break;
            case ConfigMembers.Drives:
                ReadDrives();
                break;
            case ConfigMembers.Entropy:
                ReadEntropy();
                break;
            case ConfigMembers.Balloon:
                ReadBalloon();
                break;
            case ConfigMembers.Scheduling:
                ReadScheduling();
                break;
            case ConfigMembers.Serial:
                ReadSerial();
                break;
            case ConfigMembers.Vsock:
                ReadVsock();
                break;
            case ConfigMembers.Ports:
                ReadPorts();
                break;
            case ConfigMembers.NetworkInterfaces:
                ReadNetworkInterfaces();
                break;
            case ConfigMembers.MmdsConfig:
                ReadMetadataConfig();
                break;
            case ConfigMembers.Mmds:
                ReadMetadata();
                break;
            default:
                AcceptOnlyNothing(member);
                break;
        }
    }

    private void ReadBootSource()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.BootSource);
        var seen = 0u;
        while (NextMember(ConfigMembers.OfBootSource, ConfigMembers.BootSource, ref seen) is { } member)
        {
            _machine = member switch
            {
                ConfigMembers.KernelImagePath => _machine with { KernelPath = Text(member) },
                ConfigMembers.InitrdPath => _machine with { InitrdPath = TextOrNull(member) },
                ConfigMembers.BootArgs => _machine with { Append = TextOrNull(member) ?? "" },
                ConfigMembers.CommandLine => _machine with { CommandLine = TextOrNull(member) },
                ConfigMembers.AppendFast => _machine with { AppendFast = Flag(member) },
                _ => _machine with { Protocol = (BootProtocol)OneOf(member, SettingNames.Protocols) },
            };
        }
    }

    private void ReadMachineConfig()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.MachineConfig);
        var seen = 0u;
        while (NextMember(ConfigMembers.OfMachineConfig, ConfigMembers.MachineConfig, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.VcpuCount:
                    _machine = _machine with { Cpus = (int)Number(member, 1, VmConfig.MaxCpus) };
                    break;
                case ConfigMembers.MemSizeMib:
                    _machine = _machine with { MemoryBytes = (ulong)Number(member, 2, (long)(VmConfig.MaxMemory >> 20)) << 20 };
                    break;
                case ConfigMembers.Engine:
                    _machine = _machine with { Engine = (EngineChoice)OneOf(member, SettingNames.Engines) };
                    break;
                case ConfigMembers.Complete:
                    _machine = _machine with { Complete = Flag(member) };
                    break;
                case ConfigMembers.Translate:
                    _machine = _machine with { Translate = Flag(member) };
                    break;
                case ConfigMembers.CpuModel:
                    _machine = _machine with { Cpu = (CpuModel)OneOf(member, SettingNames.CpuModels) };
                    break;
                case ConfigMembers.Paging:
                    _machine = _machine with { Paging = (PagingMode)OneOf(member, SettingNames.PagingModes) };
                    break;
                case ConfigMembers.Deterministic:
                    _machine = _machine with { Deterministic = Flag(member) };
                    break;
                case ConfigMembers.Seed:
                    _machine = _machine with { Seed = (ulong)Number(member, 0, long.MaxValue) };
                    break;
                case ConfigMembers.Nested:
                    _machine = _machine with { Nested = Flag(member) };
                    break;
                case ConfigMembers.HyperV:
                    _machine = _machine with { HyperV = Flag(member) };
                    break;
                case ConfigMembers.TestDevices:
                    _machine = _machine with { TestDevices = Flag(member) };
                    break;
                case ConfigMembers.Watchdog:
                    _machine = _machine with { Watchdog = Flag(member) };
                    break;
                case ConfigMembers.SharedMemory:
                    _machine = _machine with { SharedMemory = Flag(member) };
                    break;
                case ConfigMembers.TransparentHugePages:
                    _machine = _machine with { HugePages = Flag(member) };
                    break;
                case ConfigMembers.TrackDirtyPages:
                    // Nothing to prepare: written pages are noted from the first increment on.
                    _ = !IsNull() && Flag(member);
                    break;
                case ConfigMembers.HugePages when _json.TokenType == JsonTokenType.String && _json.ValueTextEquals("Transparent"):
                    _machine = _machine with { HugePages = true };
                    break;
                case ConfigMembers.Virtio:
                    _machine = _machine with { Virtio = (VirtioTransport)OneOf(member, SettingNames.Transports) };
                    break;
                default:
                    AcceptOnlyDefault(member);
                    break;
            }
        }
    }

    private void ReadRun()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Run);
        var seen = 0u;
        while (NextMember(ConfigMembers.OfRun, ConfigMembers.Run, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.Name:
                    _machine = _machine with { Name = Text(member) };
                    break;
                case ConfigMembers.TimeoutMs:
                    _machine = _machine with { Timeout = _json.TokenType == JsonTokenType.Null ? null : TimeSpan.FromMilliseconds(Number(member, 1, int.MaxValue)) };
                    break;
                case ConfigMembers.ReadyMatch:
                    _machine = _machine with { ReadyMatch = TextOrNull(member) };
                    break;
                case ConfigMembers.Capture:
                    _machine = _machine with { Capture = ReadCapture(member) };
                    break;
                case ConfigMembers.Metadata:
                    if (TextOrNull(member) is { Length: > 0 } metadata)
                        _machine = _machine with { Metadata = (_machine.Metadata ?? new MetadataConfig()) with { Path = metadata } };
                    break;
                case ConfigMembers.Agent:
                    _machine = _machine with { Agent = Flag(member) };
                    break;
                case ConfigMembers.Report:
                    _settings = _settings with { ReportPath = TextOrNull(member) };
                    break;
                case ConfigMembers.Translations:
                    _settings = _settings with { TranslationsPath = TextOrNull(member) };
                    break;
                default:
                    _settings = (_settings with { Machine = _machine }).WithConsole(Text(member))
                        ?? throw BadValue(member, "is not one of stdio, none, file=FILE, serial, virtio, or serial or virtio before one of the others with a comma");
                    _machine = _settings.Machine;
                    break;
            }
        }
    }

    // Firecracker's own switches that this machine has no counterpart for are accepted at Firecracker's defaults.
    private void AcceptOnlyDefault(string member)
    {
        var isDefault = _json.TokenType switch
        {
            JsonTokenType.Null => true,
            JsonTokenType.False => member == ConfigMembers.Smt,
            JsonTokenType.String => member is ConfigMembers.CpuTemplate or ConfigMembers.HugePages && _json.ValueTextEquals("None"),
            _ => false,
        };
        if (!isDefault)
            throw Unsupported($"{ConfigMembers.MachineConfig}.{member}");
    }

    private void AcceptOnlyNothing(string member)
    {
        if (_json.TokenType == JsonTokenType.Null)
            return;
        if (_json.TokenType != JsonTokenType.StartArray)
            throw Unsupported(member);
        _json.Read();
        if (_json.TokenType != JsonTokenType.EndArray)
            throw Unsupported(member);
    }

    /// <summary>Moves to the value of the next member of the object and gives the member's name; null at the object's end.</summary>
    private string? NextMember(string[] known, string where, ref uint seen)
    {
        _json.Read();
        if (_json.TokenType == JsonTokenType.EndObject)
            return null;
        for (var i = 0; i < known.Length; i++)
        {
            if (!_json.ValueTextEquals(known[i]))
                continue;
            if ((seen & (1u << i)) != 0)
                throw At(UsageErrors.ConfigBadValue, $"'{known[i]}' stands there twice in {where}");
            seen |= 1u << i;
            _json.Read();
            return known[i];
        }

        var name = _json.GetString() ?? "";
        var hint = NearestName.Find(name, known) is { } near ? $"; did you mean '{near}'?" : $"; known: {string.Join(", ", known.Take(8))}";
        throw At(UsageErrors.ConfigUnknownMember, $"{VisibleText.Quote(name, 40)} in {where}{hint}");
    }

    private readonly bool IsNull() => _json.TokenType == JsonTokenType.Null;

    private readonly void ExpectObject(string member)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
            throw BadValue(member, "is not an object");
    }

    private readonly string Text(string member) =>
        _json.TokenType == JsonTokenType.String ? _json.GetString()! : throw BadValue(member, "is not a text");

    private readonly string? TextOrNull(string member) => IsNull() ? null : Text(member);

    private readonly bool Flag(string member) => _json.TokenType is JsonTokenType.True or JsonTokenType.False
        ? _json.GetBoolean()
        : throw BadValue(member, "is neither true nor false");

    private readonly long Number(string member, long least, long most) =>
        _json.TokenType == JsonTokenType.Number && _json.TryGetInt64(out var value) && value >= least && value <= most
            ? value
            : throw BadValue(member, $"is not a whole number from {least} to {most}");

    private readonly int OneOf(string member, IReadOnlyList<string> names)
    {
        var index = SettingNames.IndexOf(names, Text(member));
        return index >= 0 ? index : throw BadValue(member, $"is not one of {string.Join(", ", names)}");
    }

    private readonly VmmException BadValue(string member, string what) => At(UsageErrors.ConfigBadValue, $"'{member}' {what}");

    private readonly VmmException Unsupported(string member) => At(UsageErrors.ConfigUnsupported, $"'{member}'");

    private readonly VmmException At(ErrorInfo error, string detail) =>
        new(error, $"{VisibleText.Quote(_file)}, {Place((int)_json.TokenStartIndex)}: {detail}");

    private readonly VmmException NotJson(Exception e)
    {
        if (_json.CurrentDepth >= ConfigFile.MaxDepth)
            return new VmmException(UsageErrors.ConfigTooLarge, $"{VisibleText.Quote(_file)} has more than {ConfigFile.MaxDepth} levels", e);
        var where = Place(Math.Min((int)_json.BytesConsumed, _text.Length));
        return new VmmException(UsageErrors.ConfigNotJson, $"{VisibleText.Quote(_file)}, {where}: not valid JSON from here on", e);
    }

    private readonly string Place(int offset)
    {
        var before = _text[..offset];
        var line = before.Count((byte)'\n') + 1;
        var column = offset - before.LastIndexOf((byte)'\n');
        return $"line {line}, column {column} (offset {offset})";
    }
}
