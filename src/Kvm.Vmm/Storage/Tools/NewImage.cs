using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>An image that is being made.</summary>
internal sealed class NewImage : IDisposable
{
    private readonly NewFile _file;
    private bool _closed;

    private NewImage(NewFile file, ToolImage image) => (_file, Image) = (file, image);

    /// <summary>The image; reads as zeros, or as the one it is based on.</summary>
    public ToolImage Image { get; }

    /// <summary>Begins one.</summary>
    /// <param name="output">Name and format; its backing file is looked at only if that is allowed.</param>
    /// <param name="size">Bytes of the disk, whole sectors.</param>
    /// <param name="options">The rest.</param>
    /// <param name="force">A file of that name is replaced.</param>
    /// <param name="inputs">What it may not be.</param>
    /// <exception cref="VmmException">It cannot be made.</exception>
    public static NewImage Begin(ImageName output, ulong size, ImageOptions options, bool force, params ReadOnlySpan<HostFile> inputs)
    {
        if (options.ProblemFor(output.Format) is { } problem || (problem = output.Format == ImageFormat.Qcow2 ? Qcow2Creator.ProblemOf(options.Qcow2(size)) : null) is not null)
            throw new VmmException(DiskToolErrors.CannotBe, problem!);
        var file = NewFile.Begin(output.Path, force, inputs);
        try
        {
            return new NewImage(file, output.Format == ImageFormat.Raw ? Raw(file, output, size, options) : Qcow2(file, output, size, options));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Closes the image and gives it its name.</summary>
    public void Finish()
    {
        Image.Check(Image.Image.Flush(), 0);
        Close();
        _file.Finish();
    }

    /// <summary>Removes it where it was not finished.</summary>
    public void Dispose()
    {
        Close();
        _file.Dispose();
    }

    private void Close()
    {
        if (!_closed)
            Image.Dispose();
        _closed = true;
    }

    private static ToolImage Raw(NewFile file, ImageName name, ulong size, ImageOptions options)
    {
        var opened = file.Open(size);
        var image = ToolImage.Of(name, new RawImage(opened), opened);
        try
        {
            if (options.Preallocation == Preallocation.Falloc)
                image.Check(opened.Reserve(size), 0);
            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    private static ToolImage Qcow2(NewFile file, ImageName name, ulong size, ImageOptions options)
    {
        var opened = file.Open();
        var open = DiskOpener.Options(ToolImage.Config(name)) with { WithoutBacking = true };
        return ToolImage.Of(name, ToolImage.Wrapped(name.Path, () => Qcow2Creator.Create(opened, options.Qcow2(size), open)), opened);
    }
}
