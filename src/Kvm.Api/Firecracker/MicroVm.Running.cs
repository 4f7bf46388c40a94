using System.Diagnostics;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Devices.Limits;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;

namespace Kvm.Api.Firecracker;

/// <summary>What can be asked of a microVM that was started.</summary>
internal sealed partial class MicroVm
{
    /// <summary><c>/actions</c>.</summary>
    public ApiAnswer Act(ReadOnlyMemory<byte> body)
    {
        string action = Body.Read(body, FirecrackerJson.Default.ActionBody).ActionType;
        return action switch
        {
            "InstanceStart" => Start(),
            "FlushMetrics" => WhileRunning(_ => Metrics.Flush()),
            "SendCtrlAltDel" => WhileRunning(machine => machine.PressCtrlAltDel()),
            _ => throw Body.Wrong($"action_type is {VisibleText.Quote(action, 40)}, not one of InstanceStart, FlushMetrics, SendCtrlAltDel"),
        };
    }

    /// <summary><c>/vm</c>.</summary>
    public ApiAnswer SetState(ReadOnlyMemory<byte> body)
    {
        string state = Body.Read(body, FirecrackerJson.Default.VmBody).State;
        return state switch
        {
            "Paused" => Timed("pause_vm", machine => machine.Pause()),
            "Resumed" => Timed("resume_vm", machine => machine.Resume()),
            _ => throw Body.Wrong($"state is {VisibleText.Quote(state, 40)}, neither Paused nor Resumed"),
        };
    }

    /// <summary>PATCH <c>/balloon</c>.</summary>
    public ApiAnswer SetBalloon(ReadOnlyMemory<byte> body) => WhileRunning(machine =>
    {
        ulong bytes = (ulong)Body.Read(body, FirecrackerJson.Default.BalloonBody).AmountMib << 20;
        MustHaveBalloon();
        if (bytes >= _settings.Machine.MemoryBytes)
            throw Body.Wrong("the balloon would take all of the memory");
        machine.SetBalloonTarget(bytes);
        Change(vm => vm with { Balloon = vm.Balloon! with { TargetBytes = bytes } });
    });

    /// <summary>PATCH <c>/balloon/statistics</c>.</summary>
    public ApiAnswer SetStatisticsInterval(ReadOnlyMemory<byte> body) => WhileRunning(machine =>
    {
        ushort seconds = Body.Read(body, FirecrackerJson.Default.BalloonStatisticsBody).StatsPollingIntervalS;
        MustHaveBalloon();
        // They cannot be switched on or off while the guest runs.
        if (seconds == 0 != (_settings.Machine.Balloon!.StatisticsSeconds == 0))
            throw Body.NotNow("whether a balloon has statistics is said before the start");
        if (seconds > 0)
            machine.SetStatisticsInterval(seconds);
        Change(vm => vm with { Balloon = vm.Balloon! with { StatisticsSeconds = seconds } });
    });

    /// <summary><c>GET /balloon</c>.</summary>
    public ApiAnswer ReadBalloon()
    {
        using (TakeTurn())
        {
            MustHaveBalloon();
            return ApiAnswer.Json(json => SettingsJson.WriteBalloon(json, _settings));
        }
    }

    /// <summary><c>GET /balloon/statistics</c>.</summary>
    public ApiAnswer ReadStatistics()
    {
        using (TakeTurn())
        {
            var machine = MustRun();
            MustHaveBalloon();
            if (_settings.Machine.Balloon!.StatisticsSeconds == 0)
                throw Body.NotNow("the balloon was configured without statistics");
            return ApiAnswer.Json(json => BalloonJson.Write(json, machine.DeviceCounters()["balloon0"]));
        }
    }

    /// <summary>PATCH <c>/drives/ID</c>.</summary>
    public ApiAnswer SetDrive(string id, ReadOnlyMemory<byte> body) => WhileRunning(machine =>
    {
        var patch = Body.Read(body, FirecrackerJson.Default.DrivePatchBody);
        if (patch.DriveId != id)
            throw Body.Wrong("the path's id is not the body's");
        var disks = _settings.Machine.Disks.ToList();
        int place = disks.FindIndex(disk => disk.Id == id);
        if (place < 0)
            throw Body.Wrong($"there is no drive {VisibleText.Quote(id, 40)}");
        if (patch.PathOnHost is { } path && path != disks[place].Path)
            throw Body.Lacks("path_on_host of a drive that the guest uses: another file is another disk, which takes another start");
        if (Merge(disks[place].Limits, patch.RateLimiter) is not { } limits)
            return;
        machine.SetDiskLimits(place, limits);
        disks[place] = disks[place] with { Limits = limits };
        Change(vm => vm with { Disks = disks });
    });

    /// <summary>PATCH <c>/network-interfaces/ID</c>.</summary>
    public ApiAnswer SetNetworkInterface(string id, ReadOnlyMemory<byte> body) => WhileRunning(machine =>
    {
        var patch = Body.Read(body, FirecrackerJson.Default.CardPatchBody);
        if (patch.IfaceId != id)
            throw Body.Wrong("the path's id is not the body's");
        List<NetConfig> cards = [.. _settings.Machine.Networks];
        int place = cards.FindIndex(card => card.Id == id);
        if (place < 0)
            throw Body.Wrong($"there is no network interface {VisibleText.Quote(id, 40)}");
        var receive = Merge(cards[place].ReceiveLimits, patch.RxRateLimiter) ?? cards[place].ReceiveLimits;
        var send = Merge(cards[place].SendLimits, patch.TxRateLimiter) ?? cards[place].SendLimits;
        machine.SetCardLimits(place, receive, send);
        cards[place] = cards[place] with { ReceiveLimits = receive, SendLimits = send };
        Change(vm => vm with { Networks = cards });
    });

    /// <summary><c>/snapshot/create</c>.</summary>
    public ApiAnswer TakeSnapshot(ReadOnlyMemory<byte> body)
    {
        var wanted = Body.Read(body, FirecrackerJson.Default.SnapshotCreateBody);
        bool isDiff = wanted.SnapshotType == "Diff";
        if (!isDiff && wanted.SnapshotType != "Full")
            throw Body.Wrong($"snapshot_type is {VisibleText.Quote(wanted.SnapshotType, 40)}, neither Full nor Diff");
        return Timed(isDiff ? "diff_create_snapshot" : "full_create_snapshot", machine =>
        {
            if (!machine.IsPaused)
                throw Body.NotNow("a snapshot is taken of a microVM that is paused: PATCH /vm");
            SnapshotFiles.Create(machine, wanted, _settings.TracksDirtyPages);
        });
    }

    /// <summary><c>/snapshot/load</c>.</summary>
    public ApiAnswer LoadSnapshot(ReadOnlyMemory<byte> body)
    {
        using (TakeTurn())
        {
            var wanted = Body.Read(body, FirecrackerJson.Default.SnapshotLoadBody);
            MustNotRun();
            if (_settings.IsConfigured)
                throw Body.NotNow("a snapshot brings its machine with it: it is loaded before anything but logger, metrics and serial is configured");
            long began = Stopwatch.GetTimestamp();
            using var snapshot = SnapshotFiles.Open(wanted);
            var saved = SnapshotFiles.ConfigOf(snapshot, wanted, _settings);
            Wait(Begin(saved, (config, host) =>
            {
                var machine = VirtualMachine.Restore(config, host, snapshot);
                if (!wanted.ResumeVm)
                    machine.Pause();
                return machine;
            }, isOfFile: false));
            _settings = _settings with
            {
                Run = saved,
                IsConfigured = true,
                TracksDirtyPages = wanted.TrackDirtyPages || wanted.EnableDiffSnapshots,
                ServesMetadata = saved.Machine.Metadata is not null,
                Metadata = saved.Machine.Metadata?.Json,
            };
            Metrics.Took("load_snapshot", Stopwatch.GetElapsedTime(began));
            return ApiAnswer.Done;
        }
    }

    /// <summary>Does something with the machine that runs or is paused.</summary>
    public ApiAnswer WhileRunning(Action<VirtualMachine> act)
    {
        using (TakeTurn())
        {
            act(MustRun());
            return ApiAnswer.Done;
        }
    }

    private ApiAnswer Timed(string metric, Action<VirtualMachine> act) => WhileRunning(machine =>
    {
        long began = Stopwatch.GetTimestamp();
        act(machine);
        Metrics.Took(metric, Stopwatch.GetElapsedTime(began));
    });

    private void MustHaveBalloon()
    {
        if (_settings.Machine.Balloon is null)
            throw Body.NotNow("the microVM has no balloon");
    }

    private void Change(Func<VmConfig, VmConfig> change) => _settings = _settings with { Run = _settings.Run with { Machine = change(_settings.Machine) } };

    /// <summary>Limits with the buckets of a body in the place of those they had; null where it has none.</summary>
    private static IoLimits? Merge(IoLimits had, JsonElement? limiter)
    {
        if (PreBoot.Limits(limiter) is not { } wanted)
            return null;
        bool Names(string bucket) => limiter!.Value.TryGetProperty(bucket, out var value) && value.ValueKind != JsonValueKind.Null;
        var (bandwidth, operations) = (Names("bandwidth") ? wanted.Bandwidth : had.Bandwidth, Names("ops") ? wanted.Operations : had.Operations);
        return (bandwidth, operations) == (null, null) ? IoLimits.None : new IoLimits(bandwidth, operations);
    }
}
