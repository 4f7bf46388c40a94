using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>
/// What each PUT before the start adds to a microVM. Values are understood as those of a configuration file are (<see cref="ConfigFile.ParseMember"/>); here is what Firecracker
/// asks of them beyond that, and when. Thread-safe: pure functions, but for a look at whether files are there.
/// </summary>
internal static class PreBoot
{
    private const int MostVcpus = 32;

    /// <summary><c>/machine-config</c>; a PATCH keeps what it does not name.</summary>
    public static MicroVmSettings MachineConfig(MicroVmSettings vm, ReadOnlyMemory<byte> body, bool isPatch)
    {
        var members = isPatch ? Body.Parse(body, []) : Body.Parse(body, "vcpu_count", "mem_size_mib");
        if (isPatch && !members.EnumerateObject().Any(member => member.Value.ValueKind != JsonValueKind.Null))
            throw Body.Wrong("the PATCH changes nothing");
        var run = Parse("machine-config", body, vm.Run);
        if (run.Machine.Cpus > MostVcpus)
            throw Body.Wrong($"{run.Machine.Cpus} vCPUs were asked for; Firecracker's API has 1 to {MostVcpus}");
        // A whole machine is judged at its start: only what is wrong by itself is now.
        if (run.Machine.Balloon is { } balloon && balloon.TargetBytes >= run.Machine.MemoryBytes)
            throw Body.Wrong("the balloon would take all of the memory");
        string pages = Text(members, "huge_pages") ?? (isPatch ? vm.HugePages : "None");
        if (pages == "Transparent" && run.Machine.MemoryBytes % (2 << 20) != 0)
            throw Body.Wrong("with huge pages mem_size_mib is a multiple of 2");
        return vm.With(run) with { TracksDirtyPages = Flag(members, "track_dirty_pages") ?? (isPatch && vm.TracksDirtyPages), HugePages = pages };
    }

    /// <summary><c>/boot-source</c>.</summary>
    public static MicroVmSettings BootSource(MicroVmSettings vm, ReadOnlyMemory<byte> body)
    {
        var members = Body.Parse(body, "kernel_image_path");
        var machine = vm.Machine with { KernelPath = "", InitrdPath = null, Append = "" };
        var run = Parse("boot-source", body, vm.Run with { Machine = machine });
        MustBeThere("kernel_image_path", run.Machine.KernelPath);
        MustBeThere("initrd_path", run.Machine.InitrdPath);
        return vm.With(run) with { HasBootArgs = Text(members, "boot_args") is not null };
    }

    /// <summary><c>/drives/ID</c>: the root comes first, so that it is <c>/dev/vda</c>.</summary>
    public static MicroVmSettings Drive(MicroVmSettings vm, string id, ReadOnlyMemory<byte> body)
    {
        var members = Body.Parse(body, "drive_id", "is_root_device");
        CheckId(id, Text(members, "drive_id"));
        if (Text(members, "socket") is not null)
            throw Body.Lacks("a drive with 'socket', served by another process (vhost-user)");
        if (Text(members, "path_on_host") is null)
            throw Body.Wrong("the body lacks 'path_on_host'");
        var run = Parse("drives", body, vm.Run);
        var drive = run.Machine.Disks.Single(disk => disk.Id == id);
        MustBeThere("path_on_host", drive.Path);
        if (run.Machine.Disks.Count(disk => disk.IsRoot) > 1)
            throw Body.Wrong("there is another drive with is_root_device");
        return vm.With(run with { Machine = run.Machine with { Disks = [.. run.Machine.Disks.OrderByDescending(disk => disk.IsRoot)] } });
    }

    /// <summary><c>/network-interfaces/ID</c>.</summary>
    public static MicroVmSettings NetworkInterface(MicroVmSettings vm, string id, ReadOnlyMemory<byte> body)
    {
        var members = Body.Parse(body, "iface_id");
        CheckId(id, Text(members, "iface_id"));
        if (Text(members, "host_dev_name") is null && Text(members, "backend") is null)
            throw Body.Wrong("the body lacks 'host_dev_name'");
        var run = Parse("network-interfaces", body, vm.Run);
        var card = run.Machine.Networks.Single(network => network.Id == id);
        if (card.Mac is { } mac && run.Machine.Networks.Any(other => other.Id != id && other.Mac == mac))
            throw Body.Wrong($"guest_mac {mac} is another interface's");
        return vm.With(run);
    }

    /// <summary><c>/vsock</c>.</summary>
    public static MicroVmSettings Vsock(MicroVmSettings vm, ReadOnlyMemory<byte> body)
    {
        Body.Parse(body, "guest_cid", "uds_path");
        return vm.With(Parse("vsock", body, vm.Run));
    }

    /// <summary><c>/balloon</c>.</summary>
    public static MicroVmSettings Balloon(MicroVmSettings vm, ReadOnlyMemory<byte> body)
    {
        var members = Body.Parse(body, "amount_mib", "deflate_on_oom");
        var run = Parse("balloon", body, vm.Run);
        if (run.Machine.Balloon!.TargetBytes >= run.Machine.MemoryBytes)
            throw Body.Wrong("the balloon would take all of the memory");
        return vm.With(run) with { ReportsFreePages = Flag(members, "free_page_reporting") ?? false };
    }

    /// <summary><c>/entropy</c>.</summary>
    public static MicroVmSettings Entropy(MicroVmSettings vm, ReadOnlyMemory<byte> body) => vm.With(Parse("entropy", body, vm.Run));

    /// <summary><c>/serial</c>, which is no part of the machine: a snapshot can still be loaded.</summary>
    public static MicroVmSettings Serial(MicroVmSettings vm, ReadOnlyMemory<byte> body)
    {
        var members = Body.Parse(body, []);
        var run = Parse("serial", body, vm.Run);
        return vm with { Run = Text(members, "serial_out_path") is null ? run with { Console = ConsoleKind.Stdio, ConsolePath = null } : run };
    }

    /// <summary><c>/mmds/config</c>, after the interfaces it names.</summary>
    public static MicroVmSettings MetadataConfig(MicroVmSettings vm, ReadOnlyMemory<byte> body)
    {
        Body.Parse(body, "network_interfaces");
        var run = Parse("mmds-config", body, vm.Run with { Machine = vm.Machine with { Metadata = null } });
        var metadata = run.Machine.Metadata!;
        if (metadata.Cards.Count == 0)
            throw Body.Wrong("network_interfaces names none");
        foreach (string card in metadata.Cards)
        {
            if (vm.Machine.Networks.All(network => network.Id != card))
                throw Body.Wrong($"network_interfaces names {VisibleText.Quote(card, 40)}, which was not configured");
        }

        return vm.With(run) with { ServesMetadata = true };
    }

    /// <summary><c>/cpu-config</c>: one that changes nothing.</summary>
    public static void CpuConfig(ReadOnlyMemory<byte> body)
    {
        string[] known = ["kvm_capabilities", "cpuid_modifiers", "msr_modifiers", "reg_modifiers", "vcpu_features"];
        foreach (var member in Body.Parse(body, []).EnumerateObject())
        {
            if (!known.Contains(member.Name))
                throw Body.Wrong($"the body does not have {VisibleText.Quote(member.Name, 40)}; it has {string.Join(", ", known)}");
            if (member.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Array) || (member.Value.ValueKind == JsonValueKind.Array && member.Value.GetArrayLength() > 0))
                throw Body.Lacks($"cpu-config.{member.Name}: the guest sees the processor that cpu_model in machine-config says, or the host's, and none with single bits changed");
        }
    }

    /// <summary>The limits of a body's member; null where it is not there.</summary>
    public static Devices.Limits.IoLimits? Limits(JsonElement? limiter)
    {
        if (limiter is not { ValueKind: not JsonValueKind.Null } value)
            return null;
        byte[] entry = System.Text.Encoding.UTF8.GetBytes($$"""{"drive_id":"x","path_on_host":"x","rate_limiter":{{value.GetRawText()}}}""");
        return Parse("drives", entry, MicroVmSettings.Default).Machine.Disks[0].Limits;
    }

    /// <summary>As the configuration file has it.</summary>
    /// <exception cref="ApiRefusal">400: it is not understood.</exception>
    private static RunSettings Parse(string member, ReadOnlyMemory<byte> body, RunSettings basis)
    {
        try
        {
            return ConfigFile.ParseMember(member, body.Span, Body.Name, basis);
        }
        catch (VmmException e)
        {
            throw new ApiRefusal(400, e.Error, e.Message, e);
        }
    }

    private static void CheckId(string path, string? body)
    {
        if (path.Length == 0 || !path.All(c => char.IsLetterOrDigit(c) || c == '_'))
            throw Body.Wrong("an id has letters, digits and underscores");
        if (path != body)
            throw Body.Wrong($"the path's id is {VisibleText.Quote(path, 40)}, the body's another");
    }

    private static void MustBeThere(string member, string? path)
    {
        if (path is not null && !File.Exists(path))
            throw Body.Wrong($"{member}: {VisibleText.Quote(path)} is no file, or not to be seen by this user");
    }

    private static string? Text(JsonElement members, string name) =>
        members.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static bool? Flag(JsonElement members, string name) =>
        members.TryGetProperty(name, out var value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null;
}
