using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>Images of VHD, VMDK and VHDX, which QEMU's <c>qemu-img</c> converts where it is installed.</summary>
internal static class ForeignImage
{
    private const string Program = "qemu-img";

    /// <summary>Converts one.</summary>
    /// <exception cref="VmmException">There is no qemu-img, or it says why it cannot.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Convert(ImageName source, ImageName output, ImageOptions options, bool compress, bool force, CancellationToken cancellation)
    {
        if (options.ProblemFor(output.Format) is { } problem)
            throw new VmmException(DiskToolErrors.CannotBe, problem);
        // An absolute path: a name with a colon would be a protocol's.
        string path = Path.GetFullPath(source.Path), format = ImageName.Of(source.Format);
        using var file = Begin(source, output, force);
        ThrowIfManyFiles(source, Run(source, ["info", "--output=json", "-f", format, path], cancellation), path);
        List<string> arguments = ["convert", "-f", format, "-O", ImageName.Of(output.Format)];
        if (compress)
            arguments.Add("-c");
        if (output.Format == ImageFormat.Qcow2)
            arguments.AddRange(["-o", Options(options)]);
        Run(source, [.. arguments, path, file.Part], cancellation);
        file.Finish();
    }

    /// <summary>Begins the output while the source is locked as by a guest; then that lock goes, which would stop qemu-img: it takes its own.</summary>
    private static NewFile Begin(ImageName source, ImageName output, bool force)
    {
        using var locked = HostFile.Open(new DiskConfig { Path = source.Path, ReadOnly = true });
        return NewFile.Begin(output.Path, force, locked);
    }

    private static string Options(ImageOptions options) =>
        $"cluster_size={options.ClusterSize},compat={(options.Version == 2 ? "0.10" : "1.1")}"
        + (options.Version == 2 ? "" : $",refcount_bits={options.RefcountBits},lazy_refcounts={(options.LazyRefcounts ? "on" : "off")},compression_type={(options.Compression == 0 ? "zlib" : "zstd")}");

    /// <summary>A file that names others would have them opened: only one that holds all of its disk is converted.</summary>
    private static void ThrowIfManyFiles(ImageName source, string info, string path)
    {
        using var document = JsonDocument.Parse(info);
        var root = document.RootElement;
        bool isBased = root.TryGetProperty("backing-filename", out _) || root.TryGetProperty("full-backing-filename", out _);
        bool isOne = true;
        if (root.TryGetProperty("format-specific", out var specific) && specific.TryGetProperty("data", out var data))
        {
            if (data.TryGetProperty("create-type", out var type))
                isOne = type.ValueEquals("monolithicSparse") || type.ValueEquals("streamOptimized");
            if (data.TryGetProperty("extents", out var extents))
                isOne &= extents.GetArrayLength() == 1 && extents[0].TryGetProperty("filename", out var name) && name.ValueEquals(path);
        }

        if (isBased || !isOne)
            throw new VmmException(DiskToolErrors.NeedsQemuImg, $"{VisibleText.Quote(source.Path)} names other files; only an image in one file is converted");
    }

    private static string Run(ImageName source, IReadOnlyList<string> arguments, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(Program) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Start(start, source);
        process.StandardInput.Close();
        using var ending = cancellation.Register(() => Kill(process));
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        cancellation.ThrowIfCancellationRequested();
        if (process.ExitCode != 0)
            throw new VmmException(DiskToolErrors.NeedsQemuImg, $"{VisibleText.Quote(source.Path)}: {VisibleText.Escape(errors.Result.Trim().Split('\n')[0])}");
        return output;
    }

    private static Process Start(ProcessStartInfo start, ImageName source)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new VmmException(DiskToolErrors.NeedsQemuImg, $"{VisibleText.Quote(source.Path)}: there is no {Program} here", e);
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill();
        }
        catch (InvalidOperationException)
        {
            // It has ended by itself.
        }
    }
}
