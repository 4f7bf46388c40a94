using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Commands;

/// <summary>Does one command.</summary>
/// <param name="manager">The machines.</param>
/// <param name="vm">The machine's name.</param>
/// <param name="arguments">An object whose members are those of the verb.</param>
/// <param name="cancel">Somebody took it back, or this process ends.</param>
/// <returns>What came of it: one value of JSON of at most <see cref="CommandVerbs.MostResultBytes"/>, or null.</returns>
/// <exception cref="VmmException">It cannot be done.</exception>
/// <exception cref="OperationCanceledException">It was taken back.</exception>
public delegate string? CommandWork(VmManager manager, string vm, JsonElement arguments, CancellationToken cancel);

/// <summary>What commands can be. Immutable.</summary>
public sealed class CommandVerbs
{
    /// <summary>The longest result.</summary>
    public const int MostResultBytes = 4096;

    private static readonly TimeSpan s_stopTimeout = TimeSpan.FromSeconds(30);

    private readonly Dictionary<string, (string[] Members, CommandWork Work)> _verbs;

    private CommandVerbs(Dictionary<string, (string[] Members, CommandWork Work)> verbs) => _verbs = verbs;

    /// <summary>
    /// What the command line has, too: <c>create</c> (members <c>config</c>, <c>restart</c>, <c>autostart</c>, <c>shared</c>), <c>start</c>, <c>stop</c> (<c>timeoutMs</c>), <c>kill</c>, <c>pause</c>, <c>resume</c>,
    /// <c>remove</c> (<c>force</c>). Their result is an object with the machine's <c>state</c> and <c>generation</c>; that of <c>remove</c> nothing.
    /// </summary>
    public static CommandVerbs Standard { get; } = new(new(StringComparer.Ordinal)
    {
        ["create"] = (["config", "restart", "autostart", "shared"], (manager, vm, arguments, cancel) => ResultOf(manager.Create(SettingsOf(vm, arguments), HowOf(arguments), cancel))),
        ["start"] = ([], (manager, vm, _, cancel) => ResultOf(manager.Start(vm, cancel))),
        ["stop"] = (["timeoutMs"], (manager, vm, arguments, cancel) => ResultOf(manager.Stop(vm, TimeoutOf(arguments), cancel))),
        ["kill"] = ([], (manager, vm, _, cancel) => ResultOf(manager.Kill(vm, cancel))),
        ["pause"] = ([], (manager, vm, _, _) => ResultOf(manager.Pause(vm))),
        ["resume"] = ([], (manager, vm, _, _) => ResultOf(manager.Resume(vm))),
        ["remove"] = (["force"], (manager, vm, arguments, cancel) =>
        {
            manager.Remove(vm, Flag(arguments, "force"), cancel);
            return null;
        }
        ),
    });

    /// <summary>The verbs, in order.</summary>
    public IEnumerable<string> Names => _verbs.Keys.Order(StringComparer.Ordinal);

    /// <summary>The same with one more.</summary>
    /// <param name="name">The verb; one that is there is replaced.</param>
    /// <param name="members">The members that its arguments may have.</param>
    /// <param name="work">Does it.</param>
    public CommandVerbs With(string name, IReadOnlyList<string> members, CommandWork work)
    {
        ArgumentNullException.ThrowIfNull(members);
        return new(new(_verbs, StringComparer.Ordinal) { [name] = ([.. members], work) });
    }

    /// <summary>Refuses a command that is none.</summary>
    /// <exception cref="VmmException">KVM0615: no such verb, or not such members.</exception>
    internal void Check(string verb, JsonElement arguments)
    {
        if (!_verbs.TryGetValue(verb, out var known))
            throw Bad($"{VisibleText.Quote(verb, 64)} is none of {string.Join(", ", Names)}", NearestName.Find(verb, [.. Names]));
        if (arguments.ValueKind != JsonValueKind.Object)
            throw Bad($"the arguments of {verb} are no object", null);
        foreach (var member in arguments.EnumerateObject())
        {
            if (Array.IndexOf(known.Members, member.Name) < 0)
                throw Bad($"{verb} has no member {VisibleText.Quote(member.Name, 64)}", NearestName.Find(member.Name, known.Members));
        }
    }

    /// <summary>Does a command that <see cref="Check"/> let pass.</summary>
    internal string? Do(VmManager manager, Command command, CancellationToken cancel)
    {
        using var arguments = JsonDocument.Parse(command.Arguments);
        // One that an earlier or later program took.
        Check(command.Verb, arguments.RootElement);
        try
        {
            return _verbs[command.Verb].Work(manager, command.Vm, arguments.RootElement, cancel);
        }
        catch (Exception e) when (e is InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw new VmmException(ManagerErrors.BadCommand, $"a member of the arguments of {command.Verb} is missing or of a wrong kind", e);
        }
    }

    /// <summary>What a machine is, as a result.</summary>
    public static string ResultOf(VmRecord record)
    {
        ArgumentNullException.ThrowIfNull(record);
        return Encoding.UTF8.GetString(JsonResult(record));
    }

    private static ReadOnlySpan<byte> JsonResult(VmRecord record)
    {
        var text = new System.Buffers.ArrayBufferWriter<byte>(128);
        using (var json = new Utf8JsonWriter(text))
        {
            json.WriteStartObject();
            json.WriteString("state", Lifecycle.NameOf(record.State));
            json.WriteNumber("generation", record.Generation);
            json.WriteString("how", Lifecycle.IsActive(record.State) ? null : record.End?.How);
            json.WriteEndObject();
        }

        return text.WrittenSpan;
    }

    private static RunSettings SettingsOf(string vm, JsonElement arguments)
    {
        var settings = ConfigFile.Parse(Encoding.UTF8.GetBytes(arguments.GetProperty("config").GetRawText()), $"the configuration of {vm}");
        return settings with { Machine = settings.Machine with { Name = vm } };
    }

    private static CreateOptions HowOf(JsonElement arguments) =>
        new() { Restart = RestartOf(arguments), Autostart = Flag(arguments, "autostart"), Shared = Flag(arguments, "shared") };

    private static RestartPolicy RestartOf(JsonElement arguments) => arguments.TryGetProperty("restart", out var restart)
        ? RestartPolicy.Parse(restart.GetString() ?? "") ?? throw new FormatException()
        : default;

    private static TimeSpan TimeoutOf(JsonElement arguments) =>
        arguments.TryGetProperty("timeoutMs", out var timeout) ? TimeSpan.FromMilliseconds(Math.Clamp(timeout.GetInt32(), 0, int.MaxValue)) : s_stopTimeout;

    private static bool Flag(JsonElement arguments, string member) => arguments.TryGetProperty(member, out var flag) && flag.GetBoolean();

    private static VmmException Bad(string what, string? near) => new(ManagerErrors.BadCommand, near is null ? what : $"{what}; did you mean {near}?");
}
