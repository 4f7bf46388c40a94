using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp disk</c>: images of disks, made, looked at, copied, changed and compared.</summary>
internal sealed class DiskVerb : Verb
{
    private const string Images = "Images";
    private const string Making = "New images: create, convert";
    private const string Changing = "Changing images: check, resize, rebase, commit";

    /// <summary>The exit code of a comparison that found a difference: as of cmp and qemu-img.</summary>
    private const int Different = 1;

    private static readonly string[] s_actions = ["create", "info", "map", "convert", "check", "resize", "commit", "rebase", "compare"];

    private readonly WordArgument _action = new("ACTION",
        "create FILE [SIZE], info FILE, map FILE, convert FILE OUTPUT, check FILE, resize FILE SIZE, commit FILE, rebase FILE, compare FILE FILE.")
    { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _file = new("FILE", "The image.") { Kind = ValueKind.File };
    private readonly WordArgument _other = new("OTHER", "The output of convert, the second image of compare, or a size.") { Kind = ValueKind.File };

    private readonly ValueOption _format = new("--format", "FORMAT", Images, "What FILE is; by its name where this is not given, never by its content.", "-f") { Kind = ValueKind.OneOf, Values = ImageName.Formats };
    private readonly SwitchOption _allowBacking = new("--allow-backing", Images, "Lets files be opened that an image says it is based on.");
    private readonly ValueOption _second = new("--second-format", "FORMAT", Images, "compare: what the second image is. rebase, create: what the file behind --backing is.", "-F") { Kind = ValueKind.OneOf, Values = ImageName.Formats };

    private readonly ValueOption _outputFormat = new("--output-format", "FORMAT", Making, "convert: what OUTPUT is to be; by its name where this is not given.", "-O") { Kind = ValueKind.OneOf, Values = ["raw", "qcow2"] };
    private readonly ValueOption _options = new("--options", "LIST", Making, $"NAME=VALUE and more after commas: {ImageOptions.Names}.", "-o");
    private readonly SwitchOption _compress = new("--compress", Making, "convert: compresses clusters (qcow2), on all processors.", "-c");
    private readonly SwitchOption _force = new("--force", Making, "Replaces a file that is there; nothing is overwritten without.");

    private readonly ValueOption _backing = new("--backing", "FILE", Changing, "create, rebase: the file an image is based on, as it is found from the image's folder; '' for none.", "-b") { Kind = ValueKind.File };
    private readonly SwitchOption _blindly = new("--unsafe", Changing, "rebase: changes the name only; the other file is known to hold the same.", "-u");
    private readonly ValueOption _repair = new("--repair", "WHAT", Changing, "check: mends leaks, or all that can be.", "-r") { Kind = ValueKind.OneOf, Values = ["leaks", "all"] };
    private readonly SwitchOption _keep = new("--keep", Changing, "commit: does not empty the image.", "-d");
    private readonly SwitchOption _shrink = new("--shrink", Changing, "resize: the disk may become smaller; what is cut off is lost.");

    public DiskVerb()
        : base("disk", "Images of disks, raw and qcow2: makes, shows, converts, changes and compares them.")
    {
        foreach (var argument in (Argument[])[_action, _file, _other])
            Add(argument);
        foreach (var option in (Option[])[_format, _allowBacking, _second, _outputFormat, _options, _compress, _force, _backing, _repair, _blindly, _keep, _shrink])
            Add(option);
        Examples =
        [
            ("kvmsharp disk create disk.qcow2 10G", "an empty disk that takes storage as it is written"),
            ("kvmsharp disk create -b base.qcow2 -F qcow2 --allow-backing clone.qcow2", "a disk that begins as another one"),
            ("kvmsharp disk convert -c disk.img disk.qcow2", "a compressed copy"),
            ("kvmsharp disk convert -f vmdk -O raw appliance.vmdk disk.img", "from another program's format, by qemu-img"),
            ("kvmsharp disk check disk.qcow2 --repair leaks", "frees clusters that nothing refers to"),
            ("kvmsharp disk resize disk.qcow2 +5G", "more room"),
            ("kvmsharp disk compare disk.img disk.qcow2", "exit code 0 if both read the same, 1 if not"),
        ];
        Notes =
        [
            "Formats: raw and qcow2; vpc (VHD), vmdk and vhdx are read by convert, where qemu-img is installed. Without --format a file is what its name says "
                + "(.qcow2, .vhd, .vpc, .vmdk, .vhdx), else raw.",
            "SIZE: a whole number, alone (bytes) or with K, M, G or T; for resize also +SIZE, and -SIZE after --.",
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        string file = _file.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"disk {action} needs a FILE");
        if (action is "info" or "map" or "check" or "commit" or "rebase" && _other.Text(result) is { } stray)
            throw new VmmException(UsageErrors.Unknown, $"disk {action} does not take {VisibleText.Quote(stray, 40)} here");
        var name = new ImageName(file, Format(result, _format, file), _allowBacking.IsGiven(result));
        using var work = new DiskWork(action, global.Json);
        return action switch
        {
            "create" => Create(result, name, global),
            "info" => Show(global, json => DiskText.Write(json, DiskTool.Info(name)), () => DiskText.Of(DiskTool.Info(name))),
            "map" => Show(global, json => DiskText.Write(json, DiskTool.Map(name)), () => DiskText.Of(DiskTool.Map(name))),
            "convert" => Convert(result, name, global, work),
            "check" => Check(result, name, global, work),
            "resize" => Resize(result, name, global),
            "commit" => work.Run(() => DiskTool.Commit(name, _keep.IsGiven(result), work.Report, work.Cancellation), () => Show(global, file, null)),
            "rebase" => Rebase(result, name, global, work),
            _ => Compare(result, name, global, work),
        };
    }

    private int Create(ParseResult result, ImageName name, GlobalOptions global)
    {
        var options = OptionsOf(result);
        if (_backing.Text(result) is { Length: > 0 } backing)
            options = options with { BackingFile = backing };
        if (_second.Text(result) is not null && options.BackingFile is not null)
            options = options with { BackingFormat = ImageName.Of(Format(result, _second, options.BackingFile)) };
        ulong? size = _other.Text(result) is { } text ? Quantities.Size("SIZE", text) : null;
        return Show(global, name.Path, DiskTool.Create(name, size, options, _force.IsGiven(result)));
    }

    private int Convert(ParseResult result, ImageName name, GlobalOptions global, DiskWork work)
    {
        string path = _other.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "disk convert needs an OUTPUT after the FILE");
        var output = new ImageName(path, Format(result, _outputFormat, path));
        var options = OptionsOf(result);
        return work.Run(
            () => DiskTool.Convert(name, output, options, _compress.IsGiven(result), _force.IsGiven(result), work.Report, work.Cancellation),
            () => Show(global, path, null));
    }

    private int Check(ParseResult result, ImageName name, GlobalOptions global, DiskWork work)
    {
        var repair = _repair.Text(result) is { } text ? (Qcow2Repair)(1 + Quantities.OneOf(_repair.Name, text, _repair.Values)) : Qcow2Repair.None;
        Qcow2CheckResult? found = null;
        return work.Run(() => found = DiskTool.Check(name, repair, work.Report, work.Cancellation), () =>
        {
            Show(global, json => DiskText.Write(json, found!), () => DiskText.Of(found!));
            return found!.Corruptions == found.CorruptionsFixed
                ? ExitCode.Success
                : throw new VmmException(DiskToolErrors.Damaged, $"{VisibleText.Quote(name.Path)}: {found.Corruptions - found.CorruptionsFixed} places");
        });
    }

    private int Resize(ParseResult result, ImageName name, GlobalOptions global)
    {
        string text = _other.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "disk resize needs a SIZE after the FILE");
        ulong amount = Quantities.Size("SIZE", text.TrimStart('+', '-'));
        if (text.StartsWith("++", StringComparison.Ordinal) || text.StartsWith("--", StringComparison.Ordinal))
            throw Quantities.Bad("SIZE", text, "is not a size such as 10G, +5G or -5G");
        ulong size = DiskTool.Resize(name, old => text[0] switch
        {
            '+' => amount <= long.MaxValue - old ? old + amount : ulong.MaxValue,
            '-' => amount <= old ? old - amount : 0,
            _ => amount,
        }, _shrink.IsGiven(result));
        return Show(global, name.Path, size);
    }

    private int Rebase(ParseResult result, ImageName name, GlobalOptions global, DiskWork work)
    {
        string backing = _backing.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "disk rebase needs --backing FILE; --backing '' for none");
        var file = backing.Length == 0 ? null : new BackingFile(backing, ImageName.Of(Format(result, _second, backing)));
        return work.Run(() => DiskTool.Rebase(name, file, _blindly.IsGiven(result), work.Report, work.Cancellation), () => Show(global, name.Path, null));
    }

    private int Compare(ParseResult result, ImageName name, GlobalOptions global, DiskWork work)
    {
        string path = _other.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "disk compare needs two FILEs");
        DiskDifference difference = default;
        return work.Run(
            () => difference = DiskTool.Compare(name, new ImageName(path, Format(result, _second, path), name.AllowBacking), work.Report, work.Cancellation),
            () =>
            {
                Show(global, json => DiskText.Write(json, difference), () => DiskText.Of(difference));
                return difference.FirstDifference is null ? ExitCode.Success : Different;
            });
    }

    private static ImageFormat Format(ParseResult result, ValueOption option, string file) => option.Text(result) is { } text
        ? (ImageFormat)Quantities.OneOf(option.Name, text, option.Values)
        : ImageName.FormatByName(file);

    private ImageOptions OptionsOf(ParseResult result)
    {
        string text = _options.Text(result) ?? "";
        return ImageOptions.Parse(text, out var options) is { } problem ? throw Quantities.Bad(_options.Name, text, problem) : options;
    }

    private static int Show(GlobalOptions global, string file, ulong? size) =>
        Show(global, json => DiskText.Write(json, file, size), () => size is { } bytes ? $"{VisibleText.Escape(file)}: {DiskText.Size(bytes)}\n" : "");

    private static int Show(GlobalOptions global, Action<System.Text.Json.Utf8JsonWriter> json, Func<string> text)
    {
        StandardStreams.Output(global.Json ? JsonText.Of(json) : text());
        return ExitCode.Success;
    }
}
